"""Stage ``mask_pictures``: show the region of an edit, before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from editinfinity.files.features import ImageFeatures
from editinfinity.files.geometry import Geometry
from editinfinity.files.heatmap import heatmap_over
from editinfinity.files.images import write_png
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
    edited = region.edited if region.blend_mask is None else region.blend_mask < 1
    write_png(mask_image, _mask_picture(edited, source.geometry))
    write_png(heatmap, heatmap_over(source.pixels, region.heat_map))


def _mask_picture(edited: NDArray[np.bool_], geometry: Geometry) -> Image.Image:
    """Return a picture of the region at the photograph's size: black is edited, white is kept."""
    picture = Image.new("L", geometry.image_size[::-1], 255)
    patch = Image.fromarray(np.where(edited, 0, 255).astype(np.uint8))
    patch = patch.resize((geometry.width, geometry.height), Image.Resampling.NEAREST)
    picture.paste(patch, (geometry.left, geometry.top))
    return picture
