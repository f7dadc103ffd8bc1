"""Composite a drawing into the photograph it was made of, behind a soft seam."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from editinfinity.files.geometry import Geometry
from editinfinity.files.photograph import Photograph
from editinfinity.files.seam import opacity_of
from editinfinity.scales import reference_grid


def composite(
    photograph: Photograph,
    drawn: Image.Image,
    geometry: Geometry,
    kernel: NDArray[np.float32] | None,
    feather: float | None = None,
) -> Photograph:
    """Put a drawing back into the photograph; what the model did not see keeps its own pixels.

    Args:
        photograph: as it came.
        drawn: RGB in sRGB, at the model's size.
        geometry: where it belongs.
        kernel: G on the ratio's 1M last scale: the photograph keeps its pixels where G is 1. None
            to take the whole drawing; only the crop has a seam then.
        feather: width of the seam in pixels of the photograph; None for about a cell.
    """
    if kernel is None:
        kernel = np.zeros(reference_grid(geometry.model_size), dtype=np.float32)
    return photograph.paste(drawn, geometry, opacity_of(kernel, geometry, feather))
