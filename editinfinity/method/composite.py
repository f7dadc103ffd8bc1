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


class Compositor:
    """Pastes generated pictures into a photograph; pixels outside the model's crop are kept.

    What does not depend on the generated picture is computed first, while a GPU may still draw it.

    Args:
        photograph: the original photograph.
        geometry: position of the generated picture in the photograph.
        blend_mask: (h, w) on ``reference_grid``; the photograph keeps its pixels where it is 1.
            None pastes the whole generated picture; only the border of the crop has a seam then.
        settings: settings of the composition; ``background: decoded`` also pastes the whole
            generated picture.
        rendering: the tokenizer's rendering of the photograph (``method.rendering``), RGB in sRGB,
            at the model's size. If given, the detail that the tokenizer loses is put back wherever
            the generated picture shows the same as the photograph: ``background: detail``.
    """

    def __init__(
        self,
        photograph: Photograph,
        geometry: Geometry,
        blend_mask: NDArray[np.float32] | None,
        settings: FinishSettings = FinishSettings(),
        rendering: Image.Image | None = None,
    ) -> None:
        if blend_mask is None or settings.background == "decoded":
            blend_mask = np.zeros(reference_grid(geometry.model_size), dtype=np.float32)
        self._photograph, self._geometry, self._blend_mask = photograph, geometry, blend_mask
        self._settings, self._rendering = settings, rendering
        self._opacity = opacity_of(blend_mask, geometry, settings.mask_feather)
        self._seen = None if rendering is None else photograph.seen(geometry)

    def paste(self, generated: Image.Image) -> Photograph:
        """Return the photograph with a generated picture, RGB in sRGB, at the model's size."""
        lost = None
        if self._rendering is not None and self._seen is not None:
            weight = detail_weight(generated, self._rendering, self._seen, self._blend_mask)
            lost = LostDetail(self._rendering, weight)
        finished = self._photograph.paste(generated, self._geometry, self._opacity, lost)
        return finished.without_location() if self._settings.gps == "drop" else finished
