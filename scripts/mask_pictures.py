"""Rule mask_pictures: draw the region that an edit changes, for the user to see."""

from editinfinity.planning.job import job
from editinfinity.stages.mask_pictures import draw_mask_pictures

with job(snakemake) as this:
    draw_mask_pictures(
        image_features=this.required_input("image"),
        mask_image=this.output("mask"),
        heatmap=this.output("heatmap"),
        **this.region_arguments,
    )
