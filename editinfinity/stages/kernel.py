"""Stage ``kernel``: from a mask or an attention map to the blending weights G."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from editinfinity.editing.kernel import cells_of_attention, smoothing_kernel
from editinfinity.errors import UserError
from editinfinity.files.features import ImageFeatures
from editinfinity.files.geometry import Geometry
from editinfinity.files.heatmap import heatmap_over
from editinfinity.files.images import write_png
from editinfinity.files.maps import ATTENTION, KERNEL, load_map, save_map
from editinfinity.files.masks import doubt_about, read_mask

log = logging.getLogger(__name__)


def make_kernel(
    *,
    image_features: Path,
    output: Path,
    mask: Path | None = None,
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
        UserError: the mask cannot be read or does not fit the photograph.
    """
    source = ImageFeatures.load(image_features)
    grid = source.schedule.reference_grid
    if (mask is None) == (attention is None):
        raise UserError("kernel: give either a mask or an attention map, not both or neither")
    if mask is not None:
        user_mask = read_mask(mask, source.geometry.image_size, mask_edit_region, mask_grow)
        edited = source.geometry.crop_mask(user_mask)
        if doubt := doubt_about(edited, mask, mask_edit_region):
            log.warning("%s", doubt)
        shown: NDArray[np.floating] = edited.astype(np.float32)
        made_of: dict[str, Any] = {"mask_source": "user", "mask_edit_region": mask_edit_region}
        if mask_grow:
            made_of["mask_grow"] = mask_grow
    else:
        assert attention is not None
        shown, found = load_map(attention, ATTENTION, grid)
        edited = cells_of_attention(shown, attention_threshold)
        made_of = {
            "mask_source": "attention",
            "target_word": found["target_word"],
            "attention_threshold": attention_threshold,
        }
    kernel = smoothing_kernel(edited, grid, smoothing)
    save_map(output, KERNEL, kernel, {"smoothing": smoothing, **made_of})
    log.info("%s: %.1f %% of the cells are edited freely", output, 100 * (kernel == 0).mean())
    if mask_image is not None:
        write_png(mask_image, _mask_picture(edited, source.geometry))
    if heatmap is not None:
        write_png(heatmap, heatmap_over(source.pixels, shown))


def _mask_picture(edited: NDArray[np.bool_], geometry: Geometry) -> Image.Image:
    """The edited region at the photograph's size: black is edited, white stays."""
    picture = Image.new("L", geometry.image_size[::-1], 255)
    patch = Image.fromarray(np.where(edited, 0, 255).astype(np.uint8))
    patch = patch.resize((geometry.width, geometry.height), Image.Resampling.NEAREST)
    picture.paste(patch, (geometry.left, geometry.top))
    return picture
