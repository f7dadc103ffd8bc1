"""Rule check: validate the user's files of a case."""

from editinfinity.planning.job import job
from editinfinity.settings.groups import MaskSettings
from editinfinity.settings.guidance import guidance_of
from editinfinity.stages.check import EditInput, check_case

with job(snakemake) as this:
    case = this.case
    check_case(
        case=case.name,
        image=case.image,
        source_prompt=case.source_prompt,
        edits=[
            EditInput(
                edit.name,
                edit.prompt,
                edit.mask if edit.mask_source == "user" else None,
                edit.target_word if edit.mask_source == "attention" else None,
                MaskSettings.of(edit.settings),
                edit.blend if edit.mask_source == "blend" else None,
                edit.find_mask is not None,
                guidance_of(edit.settings),
            )
            for edit in case.edits.values()
        ],
        faults=case.all_faults(),
        output=this.output(),
    )
