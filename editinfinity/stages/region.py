"""Where a picture is edited: the user's mask, or the cells an attention map leaves."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from editinfinity.editing.kernel import cells_of_attention, resample_kernel, smoothing_kernel
from editinfinity.errors import UserError
from editinfinity.files.geometry import Geometry
from editinfinity.files.maps import ATTENTION, load_map
from editinfinity.files.masks import doubt_about, read_mask, unseen_of
from editinfinity.jobs.record import MASK, JobWarning
from editinfinity.scales import SCALES_1M, ScaleSchedule, nearest_ratio

log = logging.getLogger(__name__)

_FREE_ENOUGH = 0.5
"""Share of what is drawn that some code has to take, or nobody sees that anything was."""


@dataclass(frozen=True)
class Region:
    """A part of what the model sees of a photograph.

    Attributes:
        name: what it comes from, for messages.
        edited: (h, w) bool, at the photograph's resolution or on the grid of codes.
        shown: the same as numbers, or the attention, for a heat map.
        made_of: what decided it, for metadata.
        edit_region: part of the user's mask that is edited; None where the model found it.
        unseen: share of the user's mask that lies outside what the model sees.
    """

    name: Path | str
    edited: NDArray[np.bool_]
    shown: NDArray[np.floating]
    made_of: dict[str, Any]
    edit_region: str | None = None
    unseen: float = 0.0


class Where(TypedDict, total=False):
    """What says where an edit goes.

    Attributes:
        mask: the user's mask; give this or ``attention``.
        photograph: its file, by whose name a mask of COCO that is of several images is searched.
        attention: of ``collect_attention``.
        mask_edit_region: which part of the user's mask is edited, of
            ``editinfinity.files.masks.REGIONS``; ``black`` unless said.
        mask_grow: pixels of the photograph by which the user's mask is made larger.
        attention_threshold: cells above min + threshold·(max − min) of the map are edited; 0.5
            unless said.
    """

    mask: Path | None
    photograph: Path | None
    attention: Path | None
    mask_edit_region: str
    mask_grow: int
    attention_threshold: float


def find_region(geometry: Geometry, **where: Unpack[Where]) -> Region:
    """The region of an edit.

    Args:
        geometry: what the model sees of the photograph.
        where: the edit goes.

    Raises:
        UserError: the mask or the map cannot be read, or does not fit the photograph.
    """
    mask, attention = where.get("mask"), where.get("attention")
    if mask is not None and attention is None:
        return _region_of_mask(
            mask,
            geometry,
            where.get("mask_edit_region", "black"),
            where.get("mask_grow", 0),
            where.get("photograph"),
        )
    if mask is None and attention is not None:
        grid = SCALES_1M[nearest_ratio(*geometry.model_size)][-1]
        return _region_of_attention(attention, grid, where.get("attention_threshold", 0.5))
    raise UserError("mask: give either a mask or an attention map, not both or neither")


def _region_of_mask(
    mask: Path, geometry: Geometry, mask_edit_region: str, mask_grow: int, photograph: Path | None
) -> Region:
    """The user's mask, cropped to what the model sees."""
    user_mask = read_mask(mask, geometry.image_size, mask_edit_region, mask_grow, photograph)
    edited = geometry.crop_mask(user_mask)
    made_of: dict[str, Any] = {"mask_source": "user", "mask_edit_region": mask_edit_region}
    if mask_grow:
        made_of["mask_grow"] = mask_grow
    unseen = unseen_of(user_mask, geometry)
    return Region(mask, edited, edited.astype(np.float32), made_of, mask_edit_region, unseen)


def _region_of_attention(attention: Path, grid: tuple[int, int], threshold: float) -> Region:
    """Cells above min + threshold·(max − min) of an attention map."""
    shown, found = load_map(attention, ATTENTION, grid)
    made_of = {
        "mask_source": "attention",
        "target_word": found["target_word"],
        "attention_threshold": threshold,
    }
    name = f"the attention of {found['target_word']!r}"
    return Region(name, cells_of_attention(shown, threshold), shown, made_of)


def kernel_of(
    edited: NDArray[np.bool_],
    schedule: ScaleSchedule,
    smoothing: str,
    name: object,
    edit_region: str | None = None,
) -> NDArray[np.float32]:
    """``smoothing_kernel`` of a region; one that leaves nothing, or all, to the edit is told of.

    Args:
        edited: (H, W) of what the model sees, True = edited.
        schedule: of the photograph.
        smoothing: a key of ``editinfinity.editing.kernel.SMOOTHINGS``.
        name: the mask's file, or what to call it.
        edit_region: part of the user's mask that is edited; None for an attention map.

    Returns:
        (h, w) on the ratio's 1M last scale: 1 keeps the source, 0 is edited freely.
    """
    kernel = smoothing_kernel(edited, schedule.reference_grid, smoothing)
    shown = name if isinstance(name, str | Path) else "mask"
    doubt = None if edit_region is None else doubt_about(edited, shown, edit_region)
    if not doubt and 1 - resample_kernel(kernel, schedule.tokenizer_grid).min() < _FREE_ENOUGH:
        of_word = "lower attention_threshold"
        of_mask = "make it larger (mask_grow), or set crop: auto"
        doubt = (
            f"{shown}: marks too little for the model to draw there, the picture stays as it is; "
            f"{of_word if edit_region is None else of_mask}"
        )
    if doubt:
        log.warning("%s", doubt, extra={"event": JobWarning(doubt, MASK)})
    return kernel
