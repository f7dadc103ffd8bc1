"""Rule train_lora: learn the photograph's style in a LoRA adapter."""

from editinfinity.stages.train_lora import train_lora
from editinfinity.workflow.job import job

with job(snakemake) as this:
    before = this.input("before")
    train_lora(
        image_features=this.needed("image"),
        text_features=this.needed("text"),
        embedding=this.input("embedding"),
        output_dir=this.output("weights").parent,
        losses=this.output("losses"),
        iterations=int(snakemake.wildcards.iteration),
        model=this.model,
        training=this.training,
        lora=this.lora,
        previous_dir=before.parent if before else None,
    )
