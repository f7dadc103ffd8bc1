"""Rule edit_text_features: encode an edit's prompt."""

from editinfinity.files.prompts import origin_of, read_prompt
from editinfinity.planning.job import job
from editinfinity.prompts import CAPTION_SUFFIX

with job(snakemake) as this:
    prompt = read_prompt(this.edit.prompt, what="edit prompt")
    origin = origin_of(this.edit.prompt, "edit prompt")
    suffix = CAPTION_SUFFIX if snakemake.wildcards.text == "text" else ""
    this.run("text_features", prompt=prompt, suffix=suffix, origin=origin, output=this.output())
