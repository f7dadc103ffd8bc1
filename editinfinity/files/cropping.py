"""Choose a crop of a large photograph, so that small objects are edited at full detail.

The model generates about one million pixels. In a photograph of 24 million pixels, it would see
every object at a fifth of its linear resolution. A crop around the mask is seen at full resolution
and pasted back afterwards. The crop has one of the model's aspect ratios and is no smaller than
the model's image size.
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
"""Values of the setting ``crop``: the whole photograph, or a crop around the mask."""

PADDING = 0.5
"""Margin on every side of the mask, as a share of its longer side; gives the model context."""

MAX_CROP_SHARE = 0.8
"""Maximum area of a useful crop, as a share of the area of the whole view.

A larger crop is used only if the whole view misses masked pixels.
"""

_SCALE_STEP = 1.15
"""Factor between successive crop sizes.

Sizes change in these steps, and positions in steps of an eighth of a side, so that a mask that is
corrected slightly keeps its crop, and the inversion of that crop can be reused.
"""

_STEPS_PER_SIDE = 8
"""Number of possible positions of a crop within the length of its own side."""

Region = tuple[int, int, int, int]
"""(top, left, height, width) in pixels of the photograph."""


def crop_around(masks: Sequence[NDArray[np.bool_]], pixel_budget: str) -> Region | None:
    """Return the crop that contains all masks of a photograph with a margin around them.

    If no view contains all of them, return the view that contains most of the masked pixels. (The
    aspect ratio of a view is at most 3:1, wide or tall.)

    Args:
        masks: masks of shape (H, W), at the photograph's size.
        pixel_budget: determines the model's image size.

    Returns:
        The region, with one of the model's aspect ratios. None if the whole view, which is the
        centre of the photograph, is as good, or if nothing is masked.
    """
    edited = np.logical_or.reduce(list(masks))
    # The number of masked pixels in each row, and in each column.
    counts = edited.sum(axis=1), edited.sum(axis=0)
    if not counts[0].any():
        return None
    size: Size = edited.shape[0], edited.shape[1]
    spans = _span(counts[0]), _span(counts[1])
    padding = PADDING * max(last - first for first, last in spans)
    needed = [last - first + 2 * padding for first, last in spans]
    whole = Geometry.fit(size, ScaleSchedule(nearest_ratio(*size), pixel_budget).image_size)
    smallest = _smallest_view(needed, size, pixel_budget)
    if smallest is None or smallest[0] * smallest[1] > MAX_CROP_SHARE * whole.height * whole.width:
        in_view = whole.crop_mask(edited).sum()
        if in_view == edited.sum():
            return None
        if smallest is None:
            best = _fullest_view(edited, counts, needed, pixel_budget)
            return best if _pixels_in(edited, best) > in_view else None
    return _place_view(counts, smallest, size)


def _span(counts: NDArray[np.integer]) -> tuple[int, int]:
    """Return the index of the first nonzero value, and one past that of the last."""
    indices = np.flatnonzero(counts)
    return int(indices[0]), int(indices[-1]) + 1


def _smallest_view(needed: Sequence[float], size: Size, pixel_budget: str) -> Size | None:
    """Return (height, width) of the smallest view that has the needed size; None if none fits.

    A view is never smaller than the model's image size, so nothing is enlarged.
    """
    views = []
    for ratio in SCALES_1M:
        target = ScaleSchedule(ratio, pixel_budget).image_size
        scale = _stepped_scale(needed, target)
        crop = round(target[0] * scale), round(target[1] * scale)
        if crop[0] <= size[0] and crop[1] <= size[1]:
            views.append((scale, _ratio_gap(ratio, needed), crop))
    return min(views)[2] if views else None


def _fullest_view(
    edited: NDArray[np.bool_],
    counts: Sequence[NDArray[np.integer]],
    needed: Sequence[float],
    pixel_budget: str,
) -> Region:
    """Return the view, at most as large as the photograph, that contains most masked pixels.

    Ties are broken by the most room around the masks, then by the resolution nearest to full
    detail.
    """
    size: Size = edited.shape[0], edited.shape[1]
    needed = [min(length, side) for length, side in zip(needed, size, strict=True)]
    views = []
    for ratio in SCALES_1M:
        target = ScaleSchedule(ratio, pixel_budget).image_size
        fit = Geometry.fit(size, target)
        scale = min(_stepped_scale(needed, target), fit.height / target[0], fit.width / target[1])
        height = min(fit.height, round(target[0] * scale))
        width = min(fit.width, round(target[1] * scale))
        view = _place_view(counts, (height, width), size)
        room = min(1, height / needed[0]) * min(1, width / needed[1])
        rank = -_pixels_in(edited, view), -room, abs(math.log(scale)), _ratio_gap(ratio, needed)
        views.append((rank, view))
    return min(views)[1]


def _stepped_scale(needed: Sequence[float], target: Size) -> float:
    """Return the smallest step of scale at which the needed size fits into the model's image.

    The scale is the number of photograph pixels per model pixel, along one side; it is at least 1.
    """
    scale = max(1.0, *(length / side for length, side in zip(needed, target, strict=True)))
    return float(_SCALE_STEP ** math.ceil(math.log(scale, _SCALE_STEP) - 1e-9))


def _ratio_gap(ratio: float, needed: Sequence[float]) -> float:
    """Return how far an aspect ratio is from that of the needed size, on a log scale."""
    return abs(math.log(ratio * needed[1] / needed[0]))


def _pixels_in(edited: NDArray[np.bool_], region: Region) -> int:
    """Return the number of edited pixels in a region."""
    top, left, height, width = region
    return int(edited[top : top + height, left : left + width].sum())


def _place_view(counts: Sequence[NDArray[np.integer]], view: Size, size: Size) -> Region:
    """Place a view so that it covers the masked pixels, or most of them if it is too small."""
    starts = []
    for axis_counts, side, limit in zip(counts, view, size, strict=True):
        first, last = _span(axis_counts)
        if side < last - first:
            starts.append(_fullest_start(axis_counts, side))
        else:
            starts.append(_centred_start((first + last) / 2, side, limit, first, last))
    return starts[0], starts[1], view[0], view[1]


def _centred_start(middle: float, side: int, limit: int, first: int, last: int) -> int:
    """Return the start of one side of a view along one axis.

    The view is centred on ``middle`` up to the step size, covers the mask, and stays inside the
    picture.
    """
    step = max(1, side // _STEPS_PER_SIDE)
    start = round((middle - side / 2) / step) * step
    start = min(max(start, last - side), first)
    return max(0, min(start, limit - side))


def _fullest_start(counts: NDArray[np.integer], side: int) -> int:
    """Return the start, in steps, at which a side covers most pixels; of ties, the middle start."""
    last_start = len(counts) - side
    starts = np.unique([*range(0, last_start, max(1, side // _STEPS_PER_SIDE)), last_start])
    cumulative = np.concatenate([[0], np.cumsum(counts)])
    covered = cumulative[starts + side] - cumulative[starts]
    best = starts[covered == covered.max()]
    return int(best[len(best) // 2])


def region_text(region: Region | None) -> str:
    """Format a region as one scalar for Snakemake: ``full`` or ``top,left,height,width``."""
    return FULL if region is None else ",".join(map(str, region))


def parse_region(text: str, size: Size) -> Region | None:
    """Parse a region in the format of ``region_text``; None for ``full``.

    Raises:
        UserError: the text is not a region, or the region lies outside a photograph of this
            (height, width).
    """
    if text == FULL:
        return None
    try:
        top, left, height, width = map(int, text.split(","))
    except ValueError:
        raise UserError(f"crop: {text!r} is not full or top,left,height,width") from None
    inside = min(top, left) >= 0 and top + height <= size[0] and left + width <= size[1]
    if not inside or min(height, width) < 1:
        raise UserError(
            f"crop: {text} lies outside the photograph, which is {size[1]}×{size[0]} pixels"
        )
    return top, left, height, width
