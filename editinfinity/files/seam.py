"""Blend an edit into the photograph: per-pixel opacity of the generated picture.

The opacity is 0 outside the crop and outside the blend mask's support (cells that do not keep the
source completely). Inside, it rises over about one cell. It is computed on a grid of a few points
per cell, at the same cost for any size of photograph, and then enlarged.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

from editinfinity.editing.blend_mask import blur, manhattan_distance
from editinfinity.files.geometry import Geometry

POINTS_PER_CELL = 8
"""Number of grid points per cell, along each side."""

SAME, DIFFERENT = 4, 16
"""Mean difference between two pictures, in levels of 255: up to the first they show the same, from
the second on they do not."""

BLUR = 3 / 256
"""Standard deviation of the blur of this difference, as a part of the picture's side."""

_REDUCED_SIGMA = 3
"""Pictures are reduced by the power of two that brings the standard deviation of their blur nearest
to this number of pixels."""


def opacity_of(
    blend_mask: NDArray[np.float32], geometry: Geometry, feather: float | None = None
) -> Image.Image:
    """Return the opacity of the generated picture over the photograph.

    Args:
        blend_mask: the blend mask G, (h, w) cells of the crop. 1 keeps the source; all cells
            are 0 if everything may change.
        geometry: the model's crop. The opacity also falls to 0 at the edges of the crop that lie
            inside the photograph.
        feather: width of the transition in pixels of the photograph; None for about one cell.

    Returns:
        Picture of mode ``L`` and the crop's size; 255 shows only the generated picture. Exactly 0
        at every pixel whose centre lies in a cell with G = 1.
    """
    support = blend_mask < 1
    if not support.any():
        return Image.new("L", (geometry.width, geometry.height), 0)
    points = np.repeat(np.repeat(support, POINTS_PER_CELL, axis=0), POINTS_PER_CELL, axis=1)
    distance = _distance_inside(points, geometry)
    width = POINTS_PER_CELL if feather is None else feather * points.shape[0] / geometry.height
    # Without this limit, a support of few cells would never reach full opacity.
    width = max(1.0, min(width, distance.max() / 2))
    # The outermost points stay at 0, so that interpolation affects no pixel outside the support.
    ramp = np.clip((distance - 1) / width, 0, 1)
    smooth = ramp * ramp * (3 - 2 * ramp)
    small = Image.fromarray(np.rint(smooth * 255).astype(np.uint8))
    large = small.resize((geometry.width, geometry.height), Image.Resampling.BILINEAR)
    if bool(support.all()):
        return large
    support_pixels = Image.fromarray(_pixels_in_cells(support, (geometry.height, geometry.width)))
    return Image.composite(large, Image.new("L", large.size, 0), support_pixels)


def detail_weight(
    generated: Image.Image,
    rendering: Image.Image,
    photograph: Image.Image,
    blend_mask: NDArray[np.float32],
) -> Image.Image:
    """Return how much of the detail that the tokenizer loses is put back at each pixel.

    It is all of the detail where the generated picture shows the same as the rendering, and at
    least the blend mask's part. It is none where the generated picture is nearer to the photograph
    than the rendering is, as then it does not have the rendering's loss.

    Args:
        generated: the generated picture, RGB.
        rendering: the tokenizer's rendering of the photograph, RGB, of the same size.
        photograph: the photograph, RGB, in the same colours and of the same size.
        blend_mask: the blend mask G, (h, w) cells; all 0 if everything may change.

    Returns:
        Picture of mode ``L``, as large or, as it is blurred, smaller; 255 puts back all of the
        detail.
    """
    sigma = BLUR * math.sqrt(generated.width * generated.height)
    # The blur leaves nothing finer than this, so that reducing by it first changes nothing visible.
    factor = 2 ** max(0, round(math.log2(sigma / _REDUCED_SIGMA)))

    def difference(first: Image.Image, second: Image.Image) -> NDArray[np.float64]:
        levels = np.asarray(ImageChops.difference(first, second), dtype=np.float32)
        mean = Image.fromarray(levels @ np.full(3, 1 / 3, dtype=np.float32)).reduce(factor)
        return blur(np.asarray(mean, dtype=np.float64), sigma / factor)

    changed, distance = difference(generated, rendering), difference(generated, photograph)
    lost = difference(photograph, rendering)
    similarity = np.clip((DIFFERENT - changed) / (DIFFERENT - SAME), 0, 1)
    kept = Image.fromarray(blend_mask).resize(changed.shape[::-1], Image.Resampling.BILINEAR)
    # Half a level, so that where nothing is lost, small differences decide nothing.
    has_loss = np.clip(0.5 + (distance - changed + 0.25) / (lost + 0.5), 0, 1)
    weight = np.maximum(similarity, np.asarray(kept)) * has_loss
    return Image.fromarray(np.rint(weight * 255).astype(np.uint8))


def _distance_inside(points: NDArray[np.bool_], geometry: Geometry) -> NDArray[np.int64]:
    """Return the Manhattan distance from each point to the nearest point outside the support.

    Points of the photograph beyond the crop count as outside.
    """
    height, width = geometry.image_size
    left, top, right, bottom = geometry.box
    padded = np.pad(points, 1, mode="edge")
    for photograph_continues, border in (
        (top > 0, np.s_[0]),
        (bottom < height, np.s_[-1]),
        (left > 0, np.s_[:, 0]),
        (right < width, np.s_[:, -1]),
    ):
        if photograph_continues:
            padded[border] = False
    if padded.all():
        return np.full(points.shape, sum(points.shape))
    return manhattan_distance(~padded)[1:-1, 1:-1]


def _pixels_in_cells(cells: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return an array of this size, 255 at the pixels whose centre lies in a True cell, else 0."""
    rows, columns = (
        ((2 * np.arange(pixels) + 1) * count) // (2 * pixels)
        for pixels, count in zip(size, cells.shape, strict=True)
    )
    values = cells.astype(np.uint8) * 255
    return np.take(np.take(values, columns, axis=1), rows, axis=0)
