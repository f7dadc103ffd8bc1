"""Rule kernel: the blending weights of a mask or an attention map."""

from editinfinity.stages.kernel import make_kernel
from editinfinity.workflow.job import job

with job(snakemake) as this:
    edit, folder = this.edit, this.output().parent
    make_kernel(
        image_features=this.needed("image"),
        mask=edit.mask if edit.mask_source == "user" else None,
        photograph=this.case.image,
        attention=this.input("attention"),
        mask_edit_region=edit.settings["mask_edit_region"],
        mask_grow=edit.settings["mask_grow"],
        attention_threshold=edit.settings["attention_threshold"],
        smoothing=snakemake.wildcards.smoothing,
        output=this.output(),
        mask_image=folder / "mask.png",
        heatmap=folder / "heatmap.png",
    )
