"""Rule finish: make the result from the chosen edit, at the size of the photograph."""

from dataclasses import asdict
from pathlib import Path

from editinfinity.planning.job import job
from editinfinity.planning.provenance import provenance_of
from editinfinity.planning.variants import parse_variant, variants_of
from editinfinity.results.selection import read_selection
from editinfinity.settings.groups import FinishSettings
from editinfinity.stages.finish import finish

with job(snakemake) as this:
    picture, kernel = this.required_input("picture"), this.input("kernel")
    if selection := this.input("selection"):
        drawn = variants_of(this.edit.settings)
        chosen = read_selection(selection, drawn)
        picture = this.inputs("picture")[drawn.index(chosen)]
        if kernel is not None:
            smoothing = chosen.setting("smoothing", this.edit.settings)
            kernel = kernel.with_name(f"kernel-{smoothing}{kernel.suffix}")
    made_by = provenance_of(
        this.case,
        this.edit,
        parse_variant(picture.stem),
        this.params["model"],
        Path(snakemake.log[0]).parents[2],
    )
    finish(
        edited=picture,
        image=this.case.image,
        kernel=kernel,
        rendering=this.input("rendering"),
        made_by=made_by,
        **asdict(this.settings(FinishSettings)),
        output=this.output(),
    )
