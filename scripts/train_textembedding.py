"""Rule train_textembedding: learn the vectors that complete the source prompt."""

from editinfinity.stages.train_textembedding import train_textembedding
from editinfinity.workflow.job import job

with job(snakemake) as this:
    before = this.inputs("before")
    train_textembedding(
        image_features=this.needed("image"),
        text_features=this.needed("text"),
        output=this.output("embedding"),
        state=this.output("state"),
        losses=this.output("losses"),
        iterations=int(snakemake.wildcards.iteration),
        model=this.model,
        training=this.training,
        previous=before[0] if before else None,
        previous_state=before[1] if before else None,
    )
