"""Rule select: choose the variant that becomes the result."""

from editinfinity.stages.select import select_variant
from editinfinity.workflow.job import job
from editinfinity.workflow.variants import variants

with job(snakemake) as this:
    names = [variant.name for variant in variants(this.edit.settings)]
    select_variant(
        metrics=dict(zip(names, this.inputs("metrics"), strict=True)),
        output=this.output(),
        floor=this.params["select_floor"],
    )
