"""Rule attention_map: where the model looks for the target word."""

from editinfinity.files.prompts import read_target_word
from editinfinity.planning.job import job

with job(snakemake) as this:
    this.run(
        "attention_map",
        image_features=this.needed("image"),
        text_features=this.needed("text"),
        target_word=read_target_word(this.edit.target_word),
        output=this.output(),
    )
