"""Where a picture is edited: the user's mask, or the cells an attention map leaves."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from editinfinity.editing.kernel import cells_of_attention, resample_kernel, smoothing_kernel
from editinfinity.files.geometry import Geometry
from editinfinity.files.maps import ATTENTION, load_map
from editinfinity.files.masks import MARKS, doubt_about, read_mask, unseen_of
from editinfinity.scales import ScaleSchedule

log = logging.getLogger(__name__)

_FREE_ENOUGH = 0.5
"""Share of what is drawn that some code has to take, or nobody sees that anything was."""


@dataclass(frozen=True)
class Region:
    """A part of what the model sees of a photograph.

    Attributes:
        edited: (h, w) bool, at the photograph's resolution or on the grid of codes.
        shown: the same as numbers, or the attention, for a heat map.
        made_of: what decided it, for metadata.
        unseen: share of the user's mask that lies outside what the model sees.
    """

    edited: NDArray[np.bool_]
    shown: NDArray[np.floating]
    made_of: dict[str, Any]
    unseen: float = 0.0


UNSEEN_WORTH_TELLING = 0.02
"""Share of a mask; of most photographs the model sees all but a sliver."""


def region_of_mask(
    mask: Path,
    geometry: Geometry,
    mask_edit_region: str,
    mask_grow: int,
    photograph: Path | None = None,
) -> Region:
    """The user's mask, cropped to what the model sees; what lies outside is told of.

    Args:
        mask: its file.
        geometry: what the model sees.
        mask_edit_region, mask_grow, photograph: as of ``read_mask``.

    Raises:
        UserError: it cannot be read or does not fit the photograph.
    """
    user_mask = read_mask(mask, geometry.image_size, mask_edit_region, mask_grow, photograph)
    edited = geometry.crop_mask(user_mask)
    unseen = unseen_of(user_mask, geometry)
    if unseen >= UNSEEN_WORTH_TELLING:
        log.warning(
            "%s: %.0f %% of what it marks lies outside the part of the photograph that the model "
            "sees, and stays as it is",
            mask,
            100 * unseen,
        )
    made_of: dict[str, Any] = {"mask_source": "user", "mask_edit_region": mask_edit_region}
    if mask_grow:
        made_of["mask_grow"] = mask_grow
    return Region(edited, edited.astype(np.float32), made_of, unseen)


def region_of_attention(attention: Path, grid: tuple[int, int], threshold: float) -> Region:
    """Cells above min + threshold·(max − min) of an attention map.

    Raises:
        UserError: it cannot be read or is of another grid.
    """
    shown, found = load_map(attention, ATTENTION, grid)
    made_of = {
        "mask_source": "attention",
        "target_word": found["target_word"],
        "attention_threshold": threshold,
    }
    return Region(cells_of_attention(shown, threshold), shown, made_of)


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
    if edit_region is not None and (doubt := doubt_about(edited, shown, edit_region)):
        log.warning("%s", doubt)
    elif 1 - resample_kernel(kernel, schedule.tokenizer_grid).min() < _FREE_ENOUGH:
        of_word = "lower attention_threshold"
        of_mask = "make it larger (mask_grow), or set crop: auto"
        log.warning(
            "%s%stoo little for the model to draw there, the picture stays as it is; %s",
            *(shown, MARKS, of_word if edit_region is None else of_mask),
        )
    return kernel
