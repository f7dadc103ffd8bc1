"""Rule rendering: decode the photograph's own code, for results that keep its detail."""

from editinfinity.planning.job import job

with job(snakemake) as this:
    this.run(
        "rendering",
        image_features=this.required_input("image"),
        output=this.output(),
    )
