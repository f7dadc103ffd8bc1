"""Composite a generated picture into the original photograph, with a soft seam."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from editinfinity.files.geometry import Geometry
from editinfinity.files.lost_detail import LostDetail
from editinfinity.files.photograph import Photograph
from editinfinity.files.seam import detail_weight, opacity_of
from editinfinity.scales import reference_grid
from editinfinity.settings.groups import FinishSettings


def composite(
    photograph: Photograph,
    generated: Image.Image,
    geometry: Geometry,
    blend_mask: NDArray[np.float32] | None,
    settings: FinishSettings = FinishSettings(),
    rendering: Image.Image | None = None,
) -> Photograph:
    """Paste the generated picture into the photograph; pixels outside the model's crop are kept.

    Args:
        photograph: the original photograph.
        generated: the generated picture, RGB in sRGB, at the model's size.
        geometry: position of the generated picture in the photograph.
        blend_mask: (h, w) on ``reference_grid``; the photograph keeps its pixels where it is 1.
            None pastes the whole generated picture; only the border of the crop has a seam then.
        settings: settings of the composition; ``background: decoded`` also pastes the whole
            generated picture.
        rendering: the tokenizer's rendering of the photograph (``method.rendering``), RGB in sRGB,
            at the model's size. If given, the detail that the tokenizer loses is put back wherever
            the generated picture shows the same as the photograph: ``background: detail``.
    """
    if blend_mask is None or settings.background == "decoded":
        blend_mask = np.zeros(reference_grid(geometry.model_size), dtype=np.float32)
    opacity = opacity_of(blend_mask, geometry, settings.mask_feather)
    lost = None
    if rendering is not None:
        seen = photograph.seen(geometry)
        lost = LostDetail(rendering, detail_weight(generated, rendering, seen, blend_mask))
    finished = photograph.paste(generated, geometry, opacity, lost)
    return finished.without_location() if settings.gps == "drop" else finished
