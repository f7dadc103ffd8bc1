"""The blend mask G: the fraction of the source's code that each cell keeps.

``E_k = G·source_k + (1 − G)·generated_k`` (EditInfinity, arXiv 2510.20217; docs/method.md,
"The blend mask G"). G is computed on the finest grid of the aspect ratio at 1M pixels (64×64 for a
square), whatever the pixel budget; ``resample_blend_mask`` resamples it to the grid of the codes.
This module uses numpy only. Masks are bool, True where the image is edited.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from editinfinity.errors import UserError

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float32]

EDITED_PERCENT = 20
"""Minimum percentage of edited pixels for a cell to count as edited."""

COARSE_GRID = (4, 4)
COARSE_BLOCKS_FOR_HARD = 6
"""Minimum number of edited cells in ``COARSE_GRID`` (4×4) for a hard mask in ``linear``.

As in the upstream code, such a large edit gets no linear ramp.
"""

GAUSSIAN_SIGMA = 1.5
"""Standard deviation of the Gaussian smoothing, in cells."""


def edited_cells(mask: BoolArray, grid: tuple[int, int]) -> BoolArray:
    """Return the cells of ``grid`` (h, w) in which at least 20 % of the pixels are edited.

    Areas are exact even if the grid does not divide the sides of the mask: a pixel on a border
    counts for each cell in proportion to its overlap with the cell.

    Args:
        mask: (H, W), True = edited.
        grid: Rows and columns of cells.

    Returns:
        (h, w), True = edited.
    """
    # All values are integers below 2^53, so the comparison is exact at exactly 20 %.
    return np.asarray(_cell_sums(mask, grid) * 100 >= EDITED_PERCENT * mask.size)


def cells_of_attention(attention: FloatArray, threshold: float = 0.5) -> BoolArray:
    """Return the cells (h, w) where the attention exceeds min + threshold·(max − min).

    A constant map selects no cell.
    """
    low, high = attention.min(), attention.max()
    return np.asarray(attention > low + np.float32(threshold) * (high - low))


def make_blend_mask(mask: BoolArray, grid: tuple[int, int], smoothing: str) -> FloatArray:
    """Return the blend mask G of a mask.

    Args:
        mask: (H, W), True = edited.
        grid: Rows and columns of cells: the finest grid of the image's aspect ratio at about one
            million pixels, 64 × 64 for a square (``scales.reference_grid``).
        smoothing: A key of ``SMOOTHINGS``.

    Returns:
        (h, w) in [0, 1]: 1 keeps the source, 0 takes the generated code. All 1 if no cell is
        edited. Cells beyond the edited ones change too, where G is less than 1. The number of such
        cells in a row is at most 0 for ``none``, 1 for ``hard``, 3 for ``paper``, 4 for
        ``linear`` (1 if the mask is large, see ``COARSE_BLOCKS_FOR_HARD``), 6 for ``gaussian``, 7
        for ``dilated``. For ``bitresedit`` it is 3, or up to 5 if the mask has few pixels.

    Raises:
        UserError: ``smoothing`` is not a key of ``SMOOTHINGS``.
    """
    if smoothing not in SMOOTHINGS:
        raise UserError(
            f"smoothing: there is no {smoothing!r}; choose one of {', '.join(SMOOTHINGS)}"
        )
    cells = edited_cells(mask, grid)
    if not cells.any():
        return np.ones(grid, dtype=np.float32)
    return SMOOTHINGS[smoothing](mask, cells).astype(np.float32)


def resample_blend_mask(blend_mask: FloatArray, grid: tuple[int, int]) -> FloatArray:
    """Resample the blend mask to the grid of the codes: area average down, repetition up.

    Args:
        blend_mask: (h, w).
        grid: Rows and columns of the result.

    Returns:
        Array of shape ``grid``; equal to ``blend_mask`` if its grid is the same.
    """
    return cell_means(blend_mask, grid)


def manhattan_distance(cells: BoolArray) -> NDArray[np.int64]:
    """Return the Manhattan distance, in cells, of each cell to the nearest True cell.

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
    """Return min over j of distance[j] + |i − j| along one axis (the metric is separable)."""
    shape = [1, 1]
    shape[axis] = -1
    index = np.arange(distance.shape[axis]).reshape(shape)
    forward = np.minimum.accumulate(distance - index, axis=axis) + index
    backward = (
        np.flip(np.minimum.accumulate(np.flip(distance + index, axis), axis=axis), axis) - index
    )
    return np.minimum(forward, backward)


def _linear(mask: BoolArray, cells: BoolArray) -> NDArray[np.floating]:
    """As upstream: 0 for d ≤ 1, (d − 1)/4 for 1 < d ≤ 4, then 1; hard if the edit is large."""
    if edited_cells(mask, COARSE_GRID).sum() >= COARSE_BLOCKS_FOR_HARD:
        return _hard(mask, cells)
    distance = manhattan_distance(cells)
    return np.where(distance > 4, 1.0, np.maximum(distance - 1, 0) / 4)


def _paper(mask: BoolArray, cells: BoolArray) -> NDArray[np.floating]:
    """As in the paper: 0 for d ≤ 1, 1 for d ≥ 4, linear between."""
    return np.clip((manhattan_distance(cells) - 1) / 3, 0.0, 1.0)


def _hard(mask: BoolArray, cells: BoolArray) -> NDArray[np.floating]:
    """Hard: 0 on edited cells and their direct neighbours, else 1."""
    return np.where(manhattan_distance(cells) <= 1, 0.0, 1.0)


def _none(mask: BoolArray, cells: BoolArray) -> NDArray[np.floating]:
    """No smoothing: 0 on edited cells, else 1."""
    return np.where(cells, 0.0, 1.0)


def _gaussian(mask: BoolArray, cells: BoolArray) -> NDArray[np.floating]:
    """Gaussian: blur the edited cells, then rescale so that G is 0 on every edited cell."""
    edited = blur(cells.astype(np.float64), GAUSSIAN_SIGMA)
    return np.clip(1 - edited / edited[cells].min(), 0.0, 1.0)


def _dilated(mask: BoolArray, cells: BoolArray) -> NDArray[np.floating]:
    """Dilated: like :func:`_gaussian`, but direct neighbours count as edited cells.

    Source: training-free editing.
    """
    return _gaussian(mask, manhattan_distance(cells) <= 1)


def blur(values: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Apply a Gaussian blur to an array (h, w), with mirrored borders.

    Args:
        values: (h, w).
        sigma: standard deviation, in elements; the blur is cut off at four of them.
    """
    radius = int(np.ceil(4 * sigma))
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    for axis in (0, 1):
        values = _weigh_along(values, axis, weights / weights.sum(), "symmetric")
    return values


def cell_means(values: FloatArray, grid: tuple[int, int]) -> FloatArray:
    """Return the mean of the values (H, W) in each cell of a grid, weighted by area."""
    return (_cell_sums(values, grid) / values.size).astype(np.float32)


def _bitresedit(mask: BoolArray, cells: BoolArray) -> NDArray[np.floating]:
    """BitResEdit: dilate the mask's pixels, resize them to the grid, blur, divide by the maximum.

    The dilation is a 7×7 maximum at the mask's own resolution; the resizing is bilinear, without
    averaging; the blur is a Gaussian of 5 cells, σ 2, with zeros beyond the borders. Source:
    BitResEdit (arXiv 2606.13558).
    """
    gate = _maximum_along(_maximum_along(mask, 0, _DILATION), 1, _DILATION).astype(np.float64)
    weights = np.exp(-0.5 * (np.arange(-2, 3) / 2) ** 2)
    for axis in (0, 1):
        gate = _resize_along(gate, axis, cells.shape[axis])
    for axis in (0, 1):
        gate = _weigh_along(gate, axis, weights / weights.sum(), "constant")
    return 1 - gate / gate.max() if gate.any() else np.ones(cells.shape)


_DILATION = 3
"""Number of pixels on either side in the dilation of ``bitresedit``."""


def _maximum_along(mask: BoolArray, axis: int, radius: int) -> BoolArray:
    """Return the maximum over ``radius`` neighbours on either side along one axis."""
    padding = [(0, 0), (0, 0)]
    padding[axis] = (radius, radius)
    padded, size = np.pad(mask, padding), mask.shape[axis]
    found = np.zeros_like(mask)
    for first in range(2 * radius + 1):
        found |= padded[:, first : first + size] if axis else padded[first : first + size]
    return found


def _resize_along(values: NDArray[np.float64], axis: int, size: int) -> NDArray[np.float64]:
    """Resize one axis by linear interpolation between the two nearest values."""
    count = values.shape[axis]
    place = np.clip((np.arange(size) + 0.5) * count / size - 0.5, 0, count - 1)
    lower = np.floor(place).astype(int)
    shape = [1, 1]
    shape[axis] = size
    upper_share = (place - lower).reshape(shape)
    upper = np.minimum(lower + 1, count - 1)
    return values.take(lower, axis) * (1 - upper_share) + values.take(upper, axis) * upper_share


def _weigh_along(
    values: NDArray[np.float64], axis: int, weights: NDArray[np.float64], border: str
) -> NDArray[np.float64]:
    """Return the weighted sum of each value's neighbours; ``border`` is a mode of ``np.pad``."""
    radius = weights.size // 2
    margins = [(0, 0), (0, 0)]
    margins[axis] = (radius, radius)
    padded = np.pad(values, margins, mode=border)  # type: ignore[call-overload]
    windows = np.lib.stride_tricks.sliding_window_view(padded, weights.size, axis=axis)
    return np.asarray(windows @ weights)


def _cell_sums(values: BoolArray | FloatArray, grid: tuple[int, int]) -> NDArray[np.float64]:
    """Return the sum of the values in each cell of a grid, weighted by area.

    The weights of a cell add up to ``values.size``, so dividing by it gives the mean of the cell.
    """
    if values.dtype == bool and values.shape[0] >= grid[0] and values.shape[1] >= grid[1]:
        return _counts_along(_counts_along(values, grid[0]).T, grid[1]).T.astype(np.float64)
    rows, columns = (_overlaps(*pair) for pair in zip(values.shape, grid, strict=True))
    return rows @ values.astype(np.float64) @ columns.T


def _counts_along(values: NDArray[Any], cells: int) -> NDArray[np.int64]:
    """As ``_overlaps(…) @ values``, for integers with at least as many rows as cells.

    It adds up whole pixels and then moves the parts of those on borders, which is faster.
    """
    pixel, part = np.divmod(np.arange(cells + 1) * len(values), cells)
    whole = np.add.reduceat(values, pixel[:-1], axis=0, dtype=np.int64)
    parts = part[:, None] * values[np.minimum(pixel, len(values) - 1)]
    return cells * whole - parts[:-1] + parts[1:]


def _overlaps(pixels: int, cells: int) -> NDArray[np.float64]:
    """Return the overlap of each cell with each pixel, (cells, pixels), in units of 1/cells pixel.

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
    "bitresedit": _bitresedit,
    "none": _none,
}
"""Name of a smoothing → function of (mask, edited cells) that returns G.

The default is ``linear``, as in the upstream code.
"""
