"""Rule jsonl: write the training table of a case."""

from editinfinity.files.prompts import read_prompt
from editinfinity.planning.job import job
from editinfinity.stages.jsonl import write_jsonl

with job(snakemake) as this:
    source = this.case.source_prompt
    write_jsonl(
        image=this.case.image,
        source_prompt=read_prompt(source, may_be_empty=True) if source else "",
        output=this.output(),
    )
