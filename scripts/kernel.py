"""Rule kernel: the blending weights of a mask or an attention map."""

from editinfinity.planning.job import job
from editinfinity.stages.kernel import make_kernel

with job(snakemake) as this:
    make_kernel(
        image_features=this.needed("image"),
        output=this.output(),
        smoothing=snakemake.wildcards.smoothing,
        **this.where,
    )
