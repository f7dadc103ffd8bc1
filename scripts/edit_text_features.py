"""Rule edit_text_features: encode an edit's prompt."""

from editinfinity.files.prompts import read_prompt
from editinfinity.workflow.job import job

with job(snakemake) as this:
    prompt = read_prompt(this.edit.prompt, what="edit prompt")
    this.run("text_features", prompt=prompt, output=this.output())
