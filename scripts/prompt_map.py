"""Rule prompt_map: find the place of an edit from the source and the edit prompt."""

from editinfinity.planning.job import job

with job(snakemake) as this:
    this.run(
        "prompt_map",
        image_features=this.required_input("image"),
        source_features=this.required_input("source"),
        target_features=this.required_input("target"),
        output=this.output(),
    )
