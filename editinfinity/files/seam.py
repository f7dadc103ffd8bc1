"""Where an edit ends and the untouched photograph begins: opacity of the drawing, pixel by pixel.

Nothing of the drawing reaches a pixel outside the kernel's support (cells that keep less than all
of the source), nor one outside the crop; inside, it fades in over about a cell. Worked out on a
grid of a few points a cell, then enlarged, so it costs the same at any size of photograph.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from editinfinity.editing.kernel import manhattan_distance
from editinfinity.files.geometry import Geometry

POINTS = 8
"""Points a cell, along either side."""


def opacity_of(
    kernel: NDArray[np.float32], geometry: Geometry, feather: float | None = None
) -> Image.Image:
    """Opacity of the drawing over the photograph.

    Args:
        kernel: G, (h, w) cells of the crop; 1 keeps the source. All 0 where everything may change.
        geometry: of the drawing: where the crop ends inside the photograph, the drawing fades too.
        feather: width of the seam in pixels of the photograph; None for about a cell.

    Returns:
        ``L`` of the crop's size, 255 = the drawing alone. Exactly 0 at every pixel whose centre
        lies in a cell with G = 1.
    """
    support = kernel < 1
    if not support.any():
        return Image.new("L", (geometry.width, geometry.height), 0)
    points = np.repeat(np.repeat(support, POINTS, axis=0), POINTS, axis=1)
    inside = _distance_inside(points, geometry)
    width = POINTS if feather is None else feather * points.shape[0] / geometry.height
    # A support of few cells would otherwise never be opaque.
    width = max(1.0, min(width, inside.max() / 2))
    # The outermost points stay clear, so that enlarging reaches no pixel outside.
    ramp = np.clip((inside - 1) / width, 0, 1)
    smooth = ramp * ramp * (3 - 2 * ramp)
    small = Image.fromarray(np.rint(smooth * 255).astype(np.uint8))
    large = small.resize((geometry.width, geometry.height), Image.Resampling.BILINEAR)
    if bool(support.all()):
        return large
    within = Image.fromarray(_pixels_of(support, (geometry.height, geometry.width)))
    return Image.composite(large, Image.new("L", large.size, 0), within)


def _distance_inside(points: NDArray[np.bool_], geometry: Geometry) -> NDArray[np.int64]:
    """Steps from each point to the nearest one outside, as the photograph beyond the crop is."""
    height, width = geometry.image_size
    left, top, right, bottom = geometry.box
    padded = np.pad(points, 1, mode="edge")
    for goes_on, border in (
        (top > 0, np.s_[0]),
        (bottom < height, np.s_[-1]),
        (left > 0, np.s_[:, 0]),
        (right < width, np.s_[:, -1]),
    ):
        if goes_on:
            padded[border] = False
    if padded.all():
        return np.full(points.shape, sum(points.shape))
    return manhattan_distance(~padded)[1:-1, 1:-1]


def _pixels_of(cells: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.uint8]:
    """255 at the pixels whose centre lies in a True cell."""
    rows, columns = (
        ((2 * np.arange(pixels) + 1) * count) // (2 * pixels)
        for pixels, count in zip(size, cells.shape, strict=True)
    )
    return (cells.astype(np.uint8) * 255)[rows][:, columns]
