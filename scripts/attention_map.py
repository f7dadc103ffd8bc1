"""Rule attention_map: compute where the model attends to the target word."""

from editinfinity.files.prompts import read_target_word
from editinfinity.planning.job import job

with job(snakemake) as this:
    this.require_valid_folder()
    this.run(
        "attention_map",
        image_features=this.required_input("image"),
        text_features=this.required_input("text"),
        target_word=read_target_word(this.edit.target_word),
        output=this.output(),
        scales=this.edit.settings["attention_scales"],
    )
