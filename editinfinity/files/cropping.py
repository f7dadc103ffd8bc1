"""Which part of a large photograph to edit, so that a small thing in it is drawn at full detail.

The model draws about a million pixels. Of a photograph of 24 million it would see every object at
a fifth of its detail; a crop around the mask, of one of the model's own shapes and no smaller than
its size, is seen as it is, and stitched back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from editinfinity.errors import UserError
from editinfinity.files.geometry import Geometry, Size
from editinfinity.scales import SCALES_1M, ScaleSchedule, nearest_ratio

FULL, AUTO = "full", "auto"
"""Values of the setting ``crop``."""

PADDING = 0.5
"""Margin on every side of the mask, as a share of its longer side: what the model has to go by."""

WORTH_IT = 0.8
"""A crop that holds more than this share of what the whole view holds is left alone."""

_STEP = 1.15
"""Crops grow in such steps, and move in steps of an eighth, so that a mask mended a little keeps
its crop, and with it all that was learned of it."""

_PLACES = 8

Region = tuple[int, int, int, int]
"""Top, left, height and width, in pixels of the photograph."""


def crop_around(masks: Sequence[NDArray[np.bool_]], pixel_budget: str) -> Region | None:
    """The crop that all masks of a photograph fit into with room around them.

    Where they fit into no view at once, the one that holds most of them: a view is at most three
    times as wide as high, or as high as wide.

    Args:
        masks: (H, W) each, at the photograph's size.
        pixel_budget: decides the model's size.

    Returns:
        The region, of the shape of one of the model's ratios; None where the whole view, which is
        the middle of the photograph, serves as well, or nothing is masked.
    """
    edited = np.logical_or.reduce(list(masks))
    counts = edited.sum(axis=1), edited.sum(axis=0)
    if not counts[0].any():
        return None
    size: Size = edited.shape[0], edited.shape[1]
    spans = _span(counts[0]), _span(counts[1])
    padding = PADDING * max(last - first for first, last in spans)
    needed = [last - first + 2 * padding for first, last in spans]
    whole = Geometry.fit(size, ScaleSchedule(nearest_ratio(*size), pixel_budget).image_size)
    found = _smallest_view(needed, size, pixel_budget)
    if found is None or found[0] * found[1] > WORTH_IT * whole.height * whole.width:
        seen = whole.crop_mask(edited).sum()
        if seen == edited.sum():
            return None
        if found is None:
            best = _fullest_view(edited, counts, needed, pixel_budget)
            return best if _held(edited, best) > seen else None
    return _over(counts, found, size)


def _span(counts: NDArray[np.integer]) -> tuple[int, int]:
    """First and one past the last of what is not 0."""
    found = np.flatnonzero(counts)
    return int(found[0]), int(found[-1]) + 1


def _smallest_view(needed: Sequence[float], size: Size, pixel_budget: str) -> Size | None:
    """Height and width of the smallest view of what is needed, at full detail or less."""
    views = []
    for ratio in SCALES_1M:
        model = ScaleSchedule(ratio, pixel_budget).image_size
        scale = _stepped(needed, model)
        crop = round(model[0] * scale), round(model[1] * scale)
        if crop[0] <= size[0] and crop[1] <= size[1]:
            views.append((scale, _unlike(ratio, needed), crop))
    return min(views)[2] if views else None


def _fullest_view(
    edited: NDArray[np.bool_],
    counts: Sequence[NDArray[np.integer]],
    needed: Sequence[float],
    pixel_budget: str,
) -> Region:
    """Of views as large as the photograph allows, the one that holds most of the masks.

    If several do, the one with most room around them; then the one nearest to full detail.
    """
    size: Size = edited.shape[0], edited.shape[1]
    needed = [min(want, side) for want, side in zip(needed, size, strict=True)]
    views = []
    for ratio in SCALES_1M:
        model = ScaleSchedule(ratio, pixel_budget).image_size
        largest = Geometry.fit(size, model)
        scale = min(_stepped(needed, model), largest.height / model[0], largest.width / model[1])
        height = min(largest.height, round(model[0] * scale))
        width = min(largest.width, round(model[1] * scale))
        view = _over(counts, (height, width), size)
        room = min(1, height / needed[0]) * min(1, width / needed[1])
        order = -_held(edited, view), -room, abs(math.log(scale)), _unlike(ratio, needed)
        views.append((order, view))
    return min(views)[1]


def _stepped(needed: Sequence[float], model: Size) -> float:
    """Pixels of the photograph for one of the model's, so that what is needed is seen."""
    scale = max(1.0, *(want / side for want, side in zip(needed, model, strict=True)))
    return float(_STEP ** math.ceil(math.log(scale, _STEP) - 1e-9))


def _unlike(ratio: float, needed: Sequence[float]) -> float:
    return abs(math.log(ratio * needed[1] / needed[0]))


def _held(edited: NDArray[np.bool_], region: Region) -> int:
    """Edited pixels in a region."""
    top, left, height, width = region
    return int(edited[top : top + height, left : left + width].sum())


def _over(counts: Sequence[NDArray[np.integer]], view: Size, size: Size) -> Region:
    """A view over what is masked; where it is too small for that, over most of it."""
    starts = []
    for counted, side, limit in zip(counts, view, size, strict=True):
        first, last = _span(counted)
        if side < last - first:
            starts.append(_over_most(counted, side))
        else:
            starts.append(_placed((first + last) / 2, side, limit, first, last))
    return starts[0], starts[1], view[0], view[1]


def _placed(middle: float, side: int, limit: int, first: int, last: int) -> int:
    """Where a side begins: around the middle, in steps, inside the picture, over the mask."""
    step = max(1, side // _PLACES)
    start = round((middle - side / 2) / step) * step
    start = min(max(start, last - side), first)
    return max(0, min(start, limit - side))


def _over_most(counts: NDArray[np.integer], side: int) -> int:
    """Where a side begins that holds most of the pixels, in steps; of equals, the middle one."""
    furthest = len(counts) - side
    starts = np.unique([*range(0, furthest, max(1, side // _PLACES)), furthest])
    before = np.concatenate([[0], np.cumsum(counts)])
    held = before[starts + side] - before[starts]
    equals = starts[held == held.max()]
    return int(equals[len(equals) // 2])


def region_text(region: Region | None) -> str:
    """A region as one scalar, for Snakemake: ``full`` or ``top,left,height,width``."""
    return FULL if region is None else ",".join(map(str, region))


def parse_region(text: str, size: Size) -> Region | None:
    """The region that a text stands for.

    Raises:
        UserError: it is none, or lies outside a photograph of this (height, width).
    """
    if text == FULL:
        return None
    try:
        top, left, height, width = map(int, text.split(","))
    except ValueError:
        raise UserError(f"crop: {text!r} is not full or top,left,height,width") from None
    inside = 0 <= top <= top + height <= size[0] and 0 <= left <= left + width <= size[1]
    if not inside or min(height, width) < 1:
        raise UserError(
            f"crop: {text} lies outside the photograph, which is {size[1]}×{size[0]} pixels"
        )
    return top, left, height, width
