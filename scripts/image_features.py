"""Rule image_features: encode the photograph."""

from pathlib import Path

from editinfinity.stages.image_features import extract_image_features
from editinfinity.workflow.job import job

with job(snakemake) as this:
    extract_image_features(
        image=Path(this.params["image"]),
        output=this.output(),
        model=this.model,
        pixel_budget=this.params["pixel_budget"],
        crop=this.params["crop"],
    )
