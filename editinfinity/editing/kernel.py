"""The smoothing kernel G: how much of the source's code each cell keeps while editing.

``E_k = G·source_k + (1 − G)·generated_k`` (EditInfinity, arXiv 2510.20217; docs/method.md,
"The blend mask G"). G lives on the ratio's 1M last scale whatever the
pixel budget, 64×64 for a square, and is brought to the grid of the codes by ``resample_kernel``.
Everything here is numpy; masks are bool, True where the image is edited.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from editinfinity.errors import UserError

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float32]

EDITED_PERCENT = 20
"""A cell is edited when at least this share of its pixels is."""

COARSE_GRID = (4, 4)
COARSE_BLOCKS_FOR_HARD = 6
"""Upstream drops the ramp when this many of the picture's 4×4 coarse blocks are edited."""

GAUSSIAN_SIGMA = 1.5
"""Width of the gaussian smoothing, in cells."""


def edited_cells(mask: BoolArray, grid: tuple[int, int]) -> BoolArray:
    """Cells of ``grid`` (h, w) of which at least 20 % of the pixels are edited.

    Areas are exact where the grid does not divide the mask's sides: a pixel on a border counts
    for each cell by the part that lies in it.

    Args:
        mask: (H, W), True = edited.
        grid: rows and columns of cells.

    Returns:
        (h, w), True = edited.
    """
    # Whole numbers below 2^53 throughout, so the comparison at exactly 20 % is exact.
    return np.asarray(_sums(mask, grid) * 100 >= EDITED_PERCENT * mask.size)


def cells_of_attention(attention: FloatArray, threshold: float = 0.5) -> BoolArray:
    """Cells (h, w) edited by an attention map: those above min + threshold·(max − min).

    A flat map edits nothing.
    """
    low, high = attention.min(), attention.max()
    return np.asarray(attention > low + np.float32(threshold) * (high - low))


def smoothing_kernel(mask: BoolArray, grid: tuple[int, int], smoothing: str) -> FloatArray:
    """The kernel G of a mask.

    Args:
        mask: (H, W), True = edited.
        grid: rows and columns of cells, the ratio's 1M last scale.
        smoothing: a key of ``SMOOTHINGS``.

    Returns:
        (h, w) in [0, 1]: 1 keeps the source, 0 is edited freely. All 1 if no cell is edited. Less
        than 1, so that pixels change, up to 0 (none), 1 (hard, and linear under a large mask), 3
        (paper), 4 (linear), 6 (gaussian) or 7 cells (dilated) beside an edited one.

    Raises:
        UserError: there is no such smoothing.
    """
    if smoothing not in SMOOTHINGS:
        raise UserError(
            f"smoothing: there is no {smoothing!r}; choose one of {', '.join(SMOOTHINGS)}"
        )
    cells = edited_cells(mask, grid)
    if not cells.any():
        return np.ones(grid, dtype=np.float32)
    return SMOOTHINGS[smoothing](mask, cells).astype(np.float32)


def resample_kernel(kernel: FloatArray, grid: tuple[int, int]) -> FloatArray:
    """The kernel on the grid of the codes: averaged by area downwards, repeated upwards.

    Args:
        kernel: (h, w).
        grid: rows and columns wanted.

    Returns:
        ``grid``-shaped; equal to ``kernel`` where the grids are.
    """
    return (_sums(kernel, grid) / kernel.size).astype(np.float32)


def manhattan_distance(cells: BoolArray) -> NDArray[np.int64]:
    """Distance of each cell to the nearest True cell, in cells along rows and columns.

    Args:
        cells: (h, w) with at least one True cell.

    Returns:
        (h, w), 0 at the True cells.
    """
    far = sum(cells.shape)
    distance = np.where(cells, 0, far).astype(np.int64)
    for axis in (0, 1):
        distance = _nearest_along(distance, axis)
    return distance


def _nearest_along(distance: NDArray[np.int64], axis: int) -> NDArray[np.int64]:
    """Smallest distance[j] + |i − j| over j along one axis (the metric is separable)."""
    shape = [1, 1]
    shape[axis] = -1
    index = np.arange(distance.shape[axis]).reshape(shape)
    forward = np.minimum.accumulate(distance - index, axis=axis) + index
    backward = (
        np.flip(np.minimum.accumulate(np.flip(distance + index, axis), axis=axis), axis) - index
    )
    return np.minimum(forward, backward)


def _linear(mask: BoolArray, cells: BoolArray) -> NDArray[np.floating]:
    """Upstream's: (d − 1)/4 for 1 < d ≤ 4, then 1; a hard mask when the edit is large."""
    if edited_cells(mask, COARSE_GRID).sum() >= COARSE_BLOCKS_FOR_HARD:
        return _hard(mask, cells)
    distance = manhattan_distance(cells)
    return np.where(distance > 4, 1.0, np.maximum(distance - 1, 0) / 4)


def _paper(mask: BoolArray, cells: BoolArray) -> NDArray[np.floating]:
    """The paper's: 0 for d ≤ 1, 1 for d ≥ 4, linear between."""
    return np.clip((manhattan_distance(cells) - 1) / 3, 0.0, 1.0)


def _hard(mask: BoolArray, cells: BoolArray) -> NDArray[np.floating]:
    """0 on edited cells and their direct neighbours, else 1."""
    return np.where(manhattan_distance(cells) <= 1, 0.0, 1.0)


def _none(mask: BoolArray, cells: BoolArray) -> NDArray[np.floating]:
    """0 on the edited cells alone, else 1."""
    return np.where(cells, 0.0, 1.0)


def _gaussian(mask: BoolArray, cells: BoolArray) -> NDArray[np.floating]:
    """The hard edit mask blurred, then stretched until every edited cell is 0 again."""
    edited = cells.astype(np.float64)
    for axis in (0, 1):
        edited = _blur_along(edited, axis)
    return np.clip(1 - edited / edited[cells].min(), 0.0, 1.0)


def _dilated(mask: BoolArray, cells: BoolArray) -> NDArray[np.floating]:
    """The edit mask with its neighbours, blurred and normalised (training-free editing)."""
    return _gaussian(mask, manhattan_distance(cells) <= 1)


def _blur_along(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Gaussian blur along one axis, borders mirrored."""
    radius = int(np.ceil(4 * GAUSSIAN_SIGMA))
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / GAUSSIAN_SIGMA) ** 2)
    weights /= weights.sum()
    margins = [(0, 0), (0, 0)]
    margins[axis] = (radius, radius)
    padded = np.pad(values, margins, mode="symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(padded, weights.size, axis=axis)
    return np.asarray(windows @ weights)


def _sums(values: BoolArray | FloatArray, grid: tuple[int, int]) -> NDArray[np.float64]:
    """What lies in each cell of a grid, weighted by area; all of it is worth ``values.size``."""
    rows, columns = (_overlaps(*pair) for pair in zip(values.shape, grid, strict=True))
    return rows @ values.astype(np.float64) @ columns.T


def _overlaps(pixels: int, cells: int) -> NDArray[np.float64]:
    """How much of each pixel lies in each cell, (cells, pixels), in units of 1/cells pixel.

    Cell i covers pixels [i·pixels/cells, (i+1)·pixels/cells), so each row sums to ``pixels``.
    """
    start = np.arange(cells)[:, None] * pixels
    pixel = np.arange(pixels)[None, :] * cells
    overlap = np.minimum(start + pixels, pixel + cells) - np.maximum(start, pixel)
    return np.maximum(overlap, 0).astype(np.float64)


SMOOTHINGS: dict[str, Callable[[BoolArray, BoolArray], NDArray[np.floating]]] = {
    "linear": _linear,
    "paper": _paper,
    "hard": _hard,
    "gaussian": _gaussian,
    "dilated": _dilated,
    "none": _none,
}
"""Smoothing's name → (mask, edited cells) → G. The default is upstream's ``linear``."""
