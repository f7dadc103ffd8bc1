"""Rule mask_pictures: where an edit goes, for people."""

from editinfinity.planning.job import job
from editinfinity.stages.mask_pictures import draw_mask_pictures

with job(snakemake) as this:
    draw_mask_pictures(
        image_features=this.needed("image"),
        mask_image=this.output("mask"),
        heatmap=this.output("heatmap"),
        **this.where,
    )
