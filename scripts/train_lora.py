"""Rule train_lora: learn the photograph's style in a LoRA adapter."""

from editinfinity.planning.job import job
from editinfinity.settings.groups import TrainingSettings

with job(snakemake) as this:
    before, folder = this.input("before"), this.output("weights").parent
    this.run(
        "train_lora",
        image_features=this.required_input("image"),
        text_features=this.required_input("text"),
        embedding=this.input("embedding"),
        output_dir=folder,
        losses=this.output("losses"),
        iterations=int(snakemake.wildcards.iteration),
        training=this.settings(TrainingSettings),
        lora=this.lora,
        previous_dir=before.parent if before else None,
        pause=this.pause(folder / "paused.safetensors"),
    )
