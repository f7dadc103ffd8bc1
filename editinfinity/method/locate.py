"""Locate an edit: compute the blend mask G from the user's mask or a word's attention."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from editinfinity.editing.blend_mask import cells_of_attention, make_blend_mask, resample_blend_mask
from editinfinity.files.geometry import Geometry
from editinfinity.files.masks import mask_warning, require_in_view, share_out_of_view
from editinfinity.scales import ScaleSchedule

log = logging.getLogger(__name__)

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
            in pixels of the photograph, else the grid of the attention map.
        attention: the attention map of the region, (h, w), which is drawn as a heat map; None for a
            user's mask.
        edit_region: value of the setting ``mask_edit_region`` (``black``, ``white``,
            ``transparent`` or ``opaque``) that the user's mask was read with; None for an attention
            map.
        out_of_view: share of the user's mask that lies outside the model's crop.
    """

    name: Path | str
    edited: NDArray[np.bool_]
    attention: NDArray[np.float32] | None = None
    edit_region: str | None = None
    out_of_view: float = 0.0


def region_of_mask(
    mask: NDArray[np.bool_], geometry: Geometry, name: object, edit_region: str
) -> EditedRegion:
    """Return the region of the user's mask, cropped to the model's crop.

    Args:
        mask: (H, W) of the photograph, True = edited.
        geometry: the model's crop of the photograph.
        name: file of the mask (a string or path); any other object if the mask has no file.
        edit_region: part of the mask's picture that is edited, for messages.
    """
    return EditedRegion(
        name if isinstance(name, str | Path) else "mask",
        geometry.crop_mask(mask),
        edit_region=edit_region,
        out_of_view=share_out_of_view(mask, geometry),
    )


def region_of_attention(
    attention: NDArray[np.float32], threshold: float, word: str
) -> EditedRegion:
    """Return the cells whose attention exceeds min + threshold·(max − min); the map is (h, w)."""
    cells = cells_of_attention(attention, threshold)
    return EditedRegion(f"the attention of {word!r}", cells, attention)


def blend_mask_of(
    region: EditedRegion, schedule: ScaleSchedule, smoothing: str
) -> NDArray[np.float32]:
    """Return the blend mask of a region.

    Logs a warning if the region is empty, covers everything, or is too small for a visible edit.

    Args:
        region: the edited region.
        schedule: scale schedule of the photograph.
        smoothing: a key of ``editinfinity.editing.blend_mask.SMOOTHINGS``.

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
    blend_mask = make_blend_mask(region.edited, schedule.reference_grid, smoothing)
    edit_region = region.edit_region
    warning = None if edit_region is None else mask_warning(region.edited, region.name, edit_region)
    if (
        not warning
        and 1 - resample_blend_mask(blend_mask, schedule.tokenizer_grid).min() < _MIN_EDIT_WEIGHT
    ):
        cure = "enlarge it (mask_grow), or set crop: auto"
        warning = (
            f"{region.name}: marks too little for a visible edit, so the picture stays unchanged; "
            f"{'lower attention_threshold' if edit_region is None else cure}"
        )
    if warning:
        log.warning("%s", warning, extra={"about": "mask"})
    return blend_mask
