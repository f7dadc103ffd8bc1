"""Rule kernel: compute the blending weights from a mask or an attention map."""

from editinfinity.planning.job import job
from editinfinity.stages.kernel import make_kernel

with job(snakemake) as this:
    make_kernel(
        image_features=this.required_input("image"),
        output=this.output(),
        smoothing=snakemake.wildcards.smoothing,
        **this.region_arguments,
    )
