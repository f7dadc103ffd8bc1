"""Rule train_textembedding: learn the vectors that complete the source prompt."""

from editinfinity.planning.job import job
from editinfinity.settings.groups import TrainingSettings

with job(snakemake) as this:
    before, embedding = this.inputs("before"), this.output("embedding")
    this.run(
        "train_textembedding",
        image_features=this.required_input("image"),
        text_features=this.required_input("text"),
        output=embedding,
        state=this.output("state"),
        losses=this.output("losses"),
        iterations=int(snakemake.wildcards.iteration),
        training=this.settings(TrainingSettings),
        previous=before[0] if before else None,
        previous_state=before[1] if before else None,
        pause=this.pause(embedding.with_suffix(".paused.safetensors")),
    )
