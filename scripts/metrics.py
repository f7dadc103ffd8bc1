"""Rule metrics: measure a drawing."""

from pathlib import Path

from editinfinity.evaluation.backbones import found_backbones
from editinfinity.planning.job import job

with job(snakemake) as this:
    edit = this.edit
    this.run(
        "metrics",
        picture=this.needed("picture"),
        image=Path(this.params["image"]),
        output=this.output(),
        mask=edit.mask if edit.judged_mask == "user" else None,
        attention=this.input("attention"),
        mask_edit_region=edit.settings["mask_edit_region"],
        mask_grow=edit.settings["mask_grow"],
        attention_threshold=edit.settings["attention_threshold"],
        drawn_with=this.params["drawn_with"],
        **found_backbones(this.config.settings),
    )
