"""Rule select: choose the variant that becomes the result."""

from editinfinity.planning.job import job
from editinfinity.planning.variants import variants_of
from editinfinity.stages.select import select_variant

with job(snakemake) as this:
    names = [variant.name for variant in variants_of(this.edit.settings)]
    select_variant(
        metrics=dict(zip(names, this.inputs("metrics"), strict=True)),
        output=this.output(),
        floor=this.params["select_floor"],
    )
