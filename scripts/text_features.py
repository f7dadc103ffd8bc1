"""Rule text_features: encode the source prompt."""

from editinfinity.files.prompts import origin_of
from editinfinity.planning.job import job
from editinfinity.prompts import caption_suffix
from editinfinity.stages.jsonl import read_jsonl

with job(snakemake) as this:
    _, prompt = read_jsonl(this.required_input("jsonl"))
    origin = origin_of(this.case.source_prompt, "source prompt")
    suffix = caption_suffix(snakemake.wildcards.text == "text")
    this.run("text_features", prompt=prompt, suffix=suffix, origin=origin, output=this.output())
