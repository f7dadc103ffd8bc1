"""Rule finish: the chosen edit at the size of the photograph."""

from pathlib import Path

from editinfinity.stages.finish import finish
from editinfinity.workflow.job import job

with job(snakemake) as this:
    finish(
        edited=this.needed("picture"),
        image=Path(this.params["image"]),
        kernel=this.input("kernel"),
        background=this.params["background"],
        mask_feather=this.params["mask_feather"],
        gps=this.params["gps"],
        output=this.output(),
    )
