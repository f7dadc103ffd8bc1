"""From a soft map of an edit's place to the edited cells, without a model.

The soft map is made to follow the edges of the photograph (guided filter), thresholded (Otsu's
method), and cleaned. Sources: docs/finding_the_place.md. This module does not import torch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from editinfinity.editing.blend_mask import BoolArray, FloatArray, cell_means, cells_of_attention

FILTER_RADIUS = 12 / 64
"""Radius of the guided filter, as a share of the grid's side: 12 of 64 cells."""

FILTER_EPSILON = 1e-4
"""Variance of colour, in [0, 1], below which the guided filter smooths instead of following it."""

MAX_FILTER_GROWTH = 1.2
"""Growth of the area from which the filter is taken to have leaked, and is not used."""

MIN_COMPONENT = 0.5
"""Minimum size of a connected part of the region, as a share of the largest one."""

_BINS = 256


def cells_of_soft_map(
    soft: FloatArray,
    pixels: NDArray[np.uint8],
    threshold: float | None = None,
    *,
    follow_edges: bool = True,
) -> BoolArray:
    """Return the edited cells of a soft map.

    Args:
        soft: (h, w), high where the edit is.
        pixels: the photograph that the map covers, (H, W, 3) RGB.
        threshold: share of the map's range above which a cell is edited; None for Otsu's method.
        follow_edges: whether the region follows the photograph's edges. If this enlarges it more
            than ``MAX_FILTER_GROWTH`` times, it does not.

    Returns:
        (h, w), True where the picture is edited. A constant map selects no cell.
    """
    cells = _clean(_above(soft, threshold))
    if follow_edges and cells.any():
        guide = np.stack([cell_means(c, soft.shape) for c in np.moveaxis(pixels, -1, 0)], -1)
        filtered = _clean(_above(guided_filter(soft, guide / 255), threshold))
        if filtered.any() and filtered.sum() <= MAX_FILTER_GROWTH * cells.sum():
            cells = filtered
    return cells


def _above(soft: FloatArray, threshold: float | None) -> BoolArray:
    if threshold is None:
        return np.asarray(soft > otsu_threshold(soft))
    return cells_of_attention(soft, threshold)


def otsu_threshold(values: FloatArray) -> float:
    """Return the value that separates two classes with the largest variance between them.

    Source: Otsu (1979), on a histogram of 256 bins. Values above the threshold are the upper class;
    there are none if all values are equal.
    """
    counts, edges = np.histogram(values, bins=_BINS, range=(values.min(), values.max()))
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1]
    sums = np.cumsum(counts * centres)
    above = values.size - below
    if values.max() == values.min():
        return float(values.max())
    with np.errstate(divide="ignore", invalid="ignore"):
        difference = sums[:-1] / below - (sums[-1] - sums[:-1]) / above
    variance = np.where((below > 0) & (above > 0), below * above * difference**2, 0)
    return float(edges[1 + int(variance.argmax())])


def guided_filter(values: FloatArray, guide: NDArray[np.floating]) -> FloatArray:
    """Return a map smoothed within, and not across, the areas of a guide.

    In each window, the map is approximated by a linear function of the guide's colours; every cell
    gets the mean of the functions of all windows that contain it. Source: He et al., Guided image
    filtering (TPAMI 2013), with a guide in colour.

    Args:
        values: (h, w).
        guide: (h, w, 3) in [0, 1].
    """
    from scipy.ndimage import uniform_filter

    radius = max(1, round(FILTER_RADIUS * float(np.sqrt(values.size))))

    def mean(array: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the mean over the part of each cell's window that is inside the map."""
        size = (2 * radius + 1,) * 2 + (1,) * (array.ndim - 2)
        return uniform_filter(array.astype(np.float64), size, mode="constant") / inside.reshape(
            *inside.shape, *(1,) * (array.ndim - 2)
        )

    inside = uniform_filter(np.ones(values.shape), 2 * radius + 1, mode="constant")
    guide_mean, value_mean = mean(guide), mean(values)
    products = guide[..., :, None] * guide[..., None, :]
    covariance = mean(products) - guide_mean[..., :, None] * guide_mean[..., None, :]
    with_values = mean(guide * values[..., None]) - guide_mean * value_mean[..., None]
    regular = covariance + FILTER_EPSILON * np.eye(3)
    slope = np.linalg.solve(regular, with_values[..., None])[..., 0]
    offset = value_mean - (slope * guide_mean).sum(-1)
    return ((mean(slope) * guide).sum(-1) + mean(offset)).astype(np.float32)


def _clean(cells: BoolArray) -> BoolArray:
    """Return the cells without parts much smaller than the largest, and with holes filled."""
    from scipy.ndimage import binary_fill_holes, label

    parts, count = label(cells)
    if not count:
        return cells
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    large = sizes >= MIN_COMPONENT * sizes.max()
    return np.asarray(binary_fill_holes(large[parts]))
