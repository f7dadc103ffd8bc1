"""Stage ``mask_pictures``: where an edit goes, shown before anything is trained."""

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
    """Draw the region of an edit.

    Args:
        image_features: for the photograph's geometry and ratio.
        mask_image: PNG of the region, black = edited, at the photograph's size.
        heatmap: PNG of the attention (or of the mask) over the photograph at the model's size.
        where: the edit goes, as for ``find_region``: mask or attention, and ``MaskSettings``.

    Raises:
        UserError: the mask or the map cannot be read, or does not fit the photograph.
    """
    source = ImageFeatures.load(image_features)
    region, _ = find_region(source.geometry, **where)
    shown = region.edited.astype(np.float32) if region.attention is None else region.attention
    write_png(mask_image, _mask_picture(region.edited, source.geometry))
    write_png(heatmap, heatmap_over(source.pixels, shown))


def _mask_picture(edited: NDArray[np.bool_], geometry: Geometry) -> Image.Image:
    """The edited region at the photograph's size: black is edited, white stays."""
    picture = Image.new("L", geometry.image_size[::-1], 255)
    patch = Image.fromarray(np.where(edited, 0, 255).astype(np.uint8))
    patch = patch.resize((geometry.width, geometry.height), Image.Resampling.NEAREST)
    picture.paste(patch, (geometry.left, geometry.top))
    return picture
