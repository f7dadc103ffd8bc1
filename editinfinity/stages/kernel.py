"""Stage ``kernel``: from a mask or an attention map to the blending weights G."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from editinfinity.errors import UserError
from editinfinity.files.features import ImageFeatures
from editinfinity.files.geometry import Geometry
from editinfinity.files.heatmap import heatmap_over
from editinfinity.files.images import write_png
from editinfinity.files.maps import KERNEL, save_map
from editinfinity.files.masks import require_seen
from editinfinity.stages.region import kernel_of, region_of_attention, region_of_mask

log = logging.getLogger(__name__)


def make_kernel(
    *,
    image_features: Path,
    output: Path,
    mask: Path | None = None,
    photograph: Path | None = None,
    attention: Path | None = None,
    mask_edit_region: str = "black",
    mask_grow: int = 0,
    smoothing: str = "linear",
    attention_threshold: float = 0.5,
    mask_image: Path | None = None,
    heatmap: Path | None = None,
) -> None:
    """Make the smoothing kernel of an edit (no model runs).

    Args:
        image_features: for the photograph's geometry and ratio.
        output: safetensors with ``kernel`` (h, w) fp32 on the ratio's 1M last scale: 1 keeps the
            source, 0 is edited freely.
        mask: the user's mask; give this or ``attention``.
        photograph: its file, by whose name a mask of COCO that is of several images is searched.
        attention: of ``collect_attention``.
        mask_edit_region: which part of the user's mask is edited, of
            ``editinfinity.files.masks.REGIONS``.
        mask_grow: pixels of the photograph by which the user's mask is made larger.
        smoothing: a key of ``editinfinity.editing.kernel.SMOOTHINGS``.
        attention_threshold: cells above min + threshold·(max − min) of the map are edited.
        mask_image: PNG of the edited region, black = edited, at the photograph's size, if wanted.
        heatmap: PNG of the attention (or of the mask) over the photograph at the model's size,
            if wanted.

    Raises:
        UserError: the mask cannot be read, does not fit the photograph, or lies where the model
            sees nothing of it.
    """
    source = ImageFeatures.load(image_features)
    grid = source.schedule.reference_grid
    if (mask is None) == (attention is None):
        raise UserError("kernel: give either a mask or an attention map, not both or neither")
    if mask is not None:
        region = region_of_mask(mask, source.geometry, mask_edit_region, mask_grow, photograph)
        require_seen(region.unseen, mask)
        kernel = kernel_of(region.edited, source.schedule, smoothing, mask, mask_edit_region)
    else:
        assert attention is not None
        region = region_of_attention(attention, grid, attention_threshold)
        name = f"the attention of {region.made_of['target_word']!r}"
        kernel = kernel_of(region.edited, source.schedule, smoothing, name)
    save_map(output, KERNEL, kernel, {"smoothing": smoothing, **region.made_of})
    log.info("%s: %.1f %% of the cells are edited freely", output, 100 * (kernel == 0).mean())
    if mask_image is not None:
        write_png(mask_image, _mask_picture(region.edited, source.geometry))
    if heatmap is not None:
        write_png(heatmap, heatmap_over(source.pixels, region.shown))


def _mask_picture(edited: NDArray[np.bool_], geometry: Geometry) -> Image.Image:
    """The edited region at the photograph's size: black is edited, white stays."""
    picture = Image.new("L", geometry.image_size[::-1], 255)
    patch = Image.fromarray(np.where(edited, 0, 255).astype(np.uint8))
    patch = patch.resize((geometry.width, geometry.height), Image.Resampling.NEAREST)
    picture.paste(patch, (geometry.left, geometry.top))
    return picture
