"""Locate an edit: the blend mask G, from the user's mask or a map, or given as such."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from editinfinity.editing.blend_mask import cells_of_attention, make_blend_mask, resample_blend_mask
from editinfinity.editing.prompt_region import cells_of_soft_map
from editinfinity.files.geometry import Geometry
from editinfinity.files.maps import PromptMaps
from editinfinity.files.masks import grow_mask, require_in_view, share_out_of_view
from editinfinity.scales import ScaleSchedule
from editinfinity.settings.groups import MaskSettings

log = logging.getLogger(__name__)

FOUND_REGION = "the place found from the prompts"
"""Name of a found region in messages."""

_MIN_OUT_OF_VIEW = 0.02
"""Share of a mask outside the model's crop from which a warning is logged.

For most photographs, the crop leaves out only a narrow strip.
"""

_MIN_EDIT_WEIGHT = 0.5
"""Minimum weight of the generated code, 1 − G, at the cell where it is largest.

Below this, no cell changes enough for the edit to be visible, and a warning is logged.
"""


@dataclass(frozen=True)
class EditedRegion:
    """The edited region inside the model's crop of a photograph.

    Attributes:
        name: source of the region, for messages: the mask's file, or a phrase.
        edited: (h, w) bool, True where the picture is edited. For a user's mask, (h, w) is the crop
            in pixels of the photograph, else the grid of the attention map or blend mask.
        attention: the attention map or prompt map of the region, (h, w), which is drawn as a heat
            map; None for a mask.
        notices: one line if the user's mask was probably meant otherwise.
        out_of_view: share of the user's mask that lies outside the model's crop.
        blend_mask: the user's own blend mask, (h, w); None if it is computed from ``edited``.
    """

    name: Path | str
    edited: NDArray[np.bool_]
    attention: NDArray[np.float32] | None = None
    notices: tuple[str, ...] = ()
    out_of_view: float = 0.0
    blend_mask: NDArray[np.float32] | None = None

    @property
    def heat_map(self) -> NDArray[np.floating]:
        """What a heat map of the region shows: attention, the edit's weight, or the mask."""
        if self.blend_mask is not None:
            return 1 - self.blend_mask
        return self.edited.astype(np.float32) if self.attention is None else self.attention


def region_of_mask(
    mask: NDArray[np.bool_], geometry: Geometry, name: object, notices: Iterable[str] = ()
) -> EditedRegion:
    """Return the region of the user's mask, cropped to the model's crop.

    Args:
        mask: (H, W) of the photograph, True = edited.
        geometry: the model's crop of the photograph.
        name: file of the mask (a string or path); any other object if the mask has no file.
        notices: lines about a mask that was probably meant otherwise, from ``read_mask``.
    """
    return EditedRegion(
        name if isinstance(name, str | Path) else "mask",
        geometry.crop_mask(mask),
        notices=tuple(notices),
        out_of_view=share_out_of_view(mask, geometry),
    )


def region_of_attention(
    attention: NDArray[np.float32], threshold: float, word: str
) -> EditedRegion:
    """Return the cells whose attention exceeds min + threshold·(max − min); the map is (h, w)."""
    cells = cells_of_attention(attention, threshold)
    return EditedRegion(f"the attention of {word!r}", cells, attention)


def region_of_prompts(
    maps: PromptMaps, source: str, pixels: NDArray[np.uint8], settings: MaskSettings
) -> EditedRegion:
    """Return the region that was found from the two prompts.

    Logs a warning if the map of the words was asked for, but no word has changed.

    Args:
        maps: the soft maps.
        source: which of them: ``words``, ``bits`` or ``both``.
        pixels: the model's crop of the photograph, (H, W, 3) RGB.
        settings: threshold, filter and growth of the region.
    """
    if maps.words is None and source != "bits":
        log.warning(
            "no word differs between the prompts, so the place is found from the bits alone",
            extra={"about": "mask"},
        )
    soft = maps.of(source)
    cells = cells_of_soft_map(
        soft,
        pixels,
        settings.prompt_map_threshold,
        follow_edges=settings.prompt_map_filter and not maps.is_addition,
    )
    return EditedRegion(FOUND_REGION, grow_mask(cells, settings.prompt_map_grow), soft)


def region_of_blend(blend_mask: NDArray[np.float32], name: object) -> EditedRegion:
    """Return the region of the user's own blend mask G: cells that are mostly generated, G < 0.5.

    Args:
        blend_mask: G, (h, w) in [0, 1]: 1 keeps the source.
        name: file of the blend mask (a string or path); any other object if it has no file.
    """
    name = name if isinstance(name, str | Path) else "blend"
    return EditedRegion(name, blend_mask < _MIN_EDIT_WEIGHT, blend_mask=blend_mask)


def mask_picture(region: EditedRegion, geometry: Geometry) -> Image.Image:
    """Return a picture of a region at the photograph's size: black is edited, white is kept.

    Of the user's own blend mask, every cell that may change is black (G < 1).
    """
    edited = region.edited if region.blend_mask is None else region.blend_mask < 1
    picture = Image.new("L", geometry.image_size[::-1], 255)
    patch = Image.fromarray(np.where(edited, 0, 255).astype(np.uint8))
    patch = patch.resize((geometry.width, geometry.height), Image.Resampling.NEAREST)
    picture.paste(patch, (geometry.left, geometry.top))
    return picture


def blend_mask_of(
    region: EditedRegion, schedule: ScaleSchedule, smoothing: str
) -> NDArray[np.float32]:
    """Return the blend mask of a region, which is the user's own if it has one.

    Logs a warning if the region is empty, covers everything, or is too small for a visible edit.

    Args:
        region: the edited region.
        schedule: scale schedule of the photograph.
        smoothing: a key of ``editinfinity.editing.blend_mask.SMOOTHINGS``; the user's own blend
            mask is not smoothed.

    Returns:
        G, (h, w) on ``schedule.reference_grid``: 1 keeps the source, 0 is edited freely.

    Raises:
        UserError: the whole mask is outside the model's crop.
    """
    require_in_view(region.out_of_view, region.name)
    if region.out_of_view >= _MIN_OUT_OF_VIEW:
        log.warning(
            "%s: %.0f %% of the marked area is outside the part of the photograph that the model "
            "sees and stays unchanged",
            region.name,
            100 * region.out_of_view,
        )
    blend_mask = region.blend_mask
    if blend_mask is None:
        blend_mask = make_blend_mask(region.edited, schedule.reference_grid, smoothing)
    warning = _warning(region, resample_blend_mask(blend_mask, schedule.tokenizer_grid))
    lines = list(region.notices)
    if warning and (region.edited.any() or not lines):  # an empty mask is told already
        lines.append(warning)
    for line in lines:
        log.warning("%s", line, extra={"about": "mask"})
    return blend_mask


def _warning(region: EditedRegion, blend_mask: NDArray[np.float32]) -> str | None:
    """Return a warning if too little is edited to be visible, or all by a user's blend mask.

    Args:
        region: the edited region.
        blend_mask: its blend mask, on the grid of the codes.
    """
    if region.name == FOUND_REGION and region.edited.all():
        return (
            f"{region.name} is the whole picture; set prompt_map_threshold (higher finds less), or "
            "give a mask"
        )
    if region.blend_mask is not None and not blend_mask.any():
        return f"{region.name}: is 0 in every cell, so the whole picture may change; 1 keeps"
    if 1 - blend_mask.min() >= _MIN_EDIT_WEIGHT:
        return None
    if region.blend_mask is not None:
        cure = "lower its values where the edit is, to 0"
    elif region.name == FOUND_REGION:
        cure = "set prompt_map_threshold (lower finds more), or give a mask"
    elif region.attention is not None:
        cure = "lower attention_threshold"
    else:
        cure = "enlarge it (mask_grow), or set crop: auto"
    return (
        f"{region.name}: marks too little for a visible edit, so the picture stays unchanged; "
        f"{cure}"
    )
