"""Rule text_features: encode the source prompt."""

from editinfinity.files.prompts import origin_of
from editinfinity.planning.job import job
from editinfinity.prompts import CAPTION_SUFFIX
from editinfinity.stages.jsonl import read_jsonl

with job(snakemake) as this:
    _, prompt = read_jsonl(this.required_input("jsonl"))
    origin = origin_of(this.case.source_prompt, "source prompt")
    suffix = CAPTION_SUFFIX if snakemake.wildcards.text == "text" else ""
    this.run("text_features", prompt=prompt, suffix=suffix, origin=origin, output=this.output())
