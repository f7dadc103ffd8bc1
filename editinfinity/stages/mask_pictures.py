"""Stage ``mask_pictures``: show the region of an edit, before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from editinfinity.files.features import ImageFeatures
from editinfinity.files.heatmap import heatmap_over
from editinfinity.files.images import write_png
from editinfinity.method.locate import mask_picture
from editinfinity.stages.region import find_region


def draw_mask_pictures(
    *, image_features: Path, mask_image: Path, heatmap: Path, **where: Any
) -> None:
    """Write pictures of the region of an edit.

    Args:
        image_features: output of ``extract_image_features``; provides pixels, geometry and ratio.
        mask_image: PNG file for the region, black = edited, at the photograph's size. Of a blend
            mask, every cell that may change is black (G < 1).
        heatmap: PNG file for the attention, the prompt map, the mask or the edit's weight 1 − G
            over the photograph at the model's size.
        where: location of the edit, as keyword arguments of ``find_region``: mask, attention,
            blend or prompt_map, and fields of ``MaskSettings``.

    Raises:
        UserError: the mask or the map cannot be read, or does not fit the photograph.
    """
    source = ImageFeatures.load(image_features)
    region, _ = find_region(source.geometry, pixels=lambda: source.pixels, **where)
    write_png(mask_image, mask_picture(region, source.geometry))
    write_png(heatmap, heatmap_over(source.pixels, region.heat_map))
