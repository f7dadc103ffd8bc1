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

    Args:
        masks: (H, W) each, at the photograph's size.
        pixel_budget: decides the model's size.

    Returns:
        The region, of the shape of one of the model's ratios; None where the whole view serves
        as well, or nothing is masked.
    """
    edited = np.logical_or.reduce(list(masks))
    rows, columns = np.flatnonzero(edited.any(axis=1)), np.flatnonzero(edited.any(axis=0))
    if not rows.size:
        return None
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    left, right = int(columns[0]), int(columns[-1]) + 1
    padding = PADDING * max(bottom - top, right - left)
    needed = bottom - top + 2 * padding, right - left + 2 * padding
    size: Size = edited.shape[0], edited.shape[1]
    best: tuple[float, float, Size] | None = None
    for ratio in SCALES_1M:
        model = ScaleSchedule(ratio, pixel_budget).image_size
        scale = max(1.0, *(want / side for want, side in zip(needed, model, strict=True)))
        scale = _STEP ** math.ceil(math.log(scale, _STEP) - 1e-9)
        crop = round(model[0] * scale), round(model[1] * scale)
        if crop[0] <= size[0] and crop[1] <= size[1]:
            unlike = abs(math.log(ratio * needed[1] / needed[0]))
            best = min(best or (math.inf, math.inf, crop), (scale, unlike, crop))
    if best is None:
        return None
    height, width = best[2]
    whole = Geometry.fit(size, ScaleSchedule(nearest_ratio(*size), pixel_budget).image_size)
    if height * width > WORTH_IT * whole.height * whole.width:
        return None
    return (
        _placed((top + bottom) / 2, height, size[0], top, bottom),
        _placed((left + right) / 2, width, size[1], left, right),
        height,
        width,
    )


def _placed(middle: float, side: int, limit: int, first: int, last: int) -> int:
    """Where a side begins: around the middle, in steps, inside the picture, over the mask."""
    step = max(1, side // _PLACES)
    start = round((middle - side / 2) / step) * step
    start = min(max(start, last - side), first)
    return max(0, min(start, limit - side))


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
