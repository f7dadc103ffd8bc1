"""Rule text_features: encode the source prompt."""

from editinfinity.stages.jsonl import read_jsonl
from editinfinity.workflow.job import job

with job(snakemake) as this:
    _, prompt = read_jsonl(this.needed("jsonl"))
    this.run("text_features", prompt=prompt, output=this.output())
