"""Composite a drawing into the photograph it was made of, behind a soft seam."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from editinfinity.files.geometry import Geometry
from editinfinity.files.photograph import Photograph
from editinfinity.files.seam import opacity_of
from editinfinity.scales import reference_grid
from editinfinity.settings.groups import FinishSettings


def composite(
    photograph: Photograph,
    drawn: Image.Image,
    geometry: Geometry,
    kernel: NDArray[np.float32] | None,
    settings: FinishSettings = FinishSettings(),
) -> Photograph:
    """Put a drawing back into the photograph; what the model did not see keeps its own pixels.

    Args:
        photograph: as it came.
        drawn: RGB in sRGB, at the model's size.
        geometry: where it belongs.
        kernel: G on the ratio's 1M last scale: the photograph keeps its pixels where G is 1. None
            to take the whole drawing; only the crop has a seam then.
        settings: ``background: decoded`` takes the whole drawing too.
    """
    if kernel is None or settings.background == "decoded":
        kernel = np.zeros(reference_grid(geometry.model_size), dtype=np.float32)
    opacity = opacity_of(kernel, geometry, settings.mask_feather)
    finished = photograph.paste(drawn, geometry, opacity)
    return finished.without_place() if settings.gps == "drop" else finished
