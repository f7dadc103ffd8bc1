"""Rule image_features: encode the photograph."""

from editinfinity.planning.job import job

with job(snakemake) as this:
    this.run(
        "image_features",
        image=this.case.image,
        output=this.output(),
        pixel_budget=this.params["pixel_budget"],
        crop=this.params["crop"],
    )
