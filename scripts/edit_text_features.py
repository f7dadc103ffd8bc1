"""Rule edit_text_features: encode an edit's prompt."""

from editinfinity.files.prompts import origin_of, read_prompt
from editinfinity.planning.job import job
from editinfinity.prompts import caption_suffix

with job(snakemake) as this:
    prompt = read_prompt(this.edit.prompt, what="edit prompt")
    origin = origin_of(this.edit.prompt, "edit prompt")
    suffix = caption_suffix(snakemake.wildcards.text == "text")
    this.run("text_features", prompt=prompt, suffix=suffix, origin=origin, output=this.output())
