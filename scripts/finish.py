"""Rule finish: the chosen edit at the size of the photograph."""

from pathlib import Path

from editinfinity.stages.finish import finish
from editinfinity.workflow.job import job
from editinfinity.workflow.selection import read_selection
from editinfinity.workflow.variants import variants

with job(snakemake) as this:
    picture, kernel = this.needed("picture"), this.input("kernel")
    if selection := this.input("selection"):
        drawn = variants(this.edit.settings)
        chosen = read_selection(selection, drawn)
        picture = this.inputs("picture")[drawn.index(chosen)]
        if kernel is not None:
            smoothing = chosen.setting("smoothing", this.edit.settings)
            kernel = kernel.with_name(f"kernel-{smoothing}{kernel.suffix}")
    finish(
        edited=picture,
        image=Path(this.params["image"]),
        kernel=kernel,
        background=this.params["background"],
        mask_feather=this.params["mask_feather"],
        gps=this.params["gps"],
        output=this.output(),
    )
