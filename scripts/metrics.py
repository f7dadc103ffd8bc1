"""Rule metrics: compute the metrics of a drawn picture."""

from editinfinity.evaluation.backbones import backbone_folders
from editinfinity.planning.job import job
from editinfinity.settings.groups import MaskSettings

with job(snakemake) as this:
    edit = this.edit
    this.run(
        "metrics",
        picture=this.required_input("picture"),
        image=this.case.image,
        output=this.output(),
        mask=edit.mask if edit.judged_mask == "user" else None,
        attention=this.input("attention"),
        prompt_map=this.input("prompt_map"),
        find_mask=edit.find_mask,
        blend=edit.blend if edit.judged_mask == "blend" else None,
        **vars(MaskSettings.of(edit.settings)),
        drawn_with=this.params["drawn_with"],
        **backbone_folders(this.config.settings),
    )
