"""Put back what the tokenizer loses of a photograph, at the photograph's own resolution and depth.

Where a generated picture shows the same as the tokenizer's rendering of the photograph, everything
in which the photograph differs from that rendering is detail that the tokenizer lost:
``generated + weight·(photograph − rendering)`` has it again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from editinfinity.files.geometry import Geometry

PIXELS_AT_ONCE = 2**20
"""Number of pixels computed at once, so that large photographs take little memory."""


@dataclass(frozen=True)
class LostDetail:
    """The detail that the tokenizer loses, and how much of it each pixel gets back.

    Attributes:
        rendering: the tokenizer's rendering of the photograph: RGB, sRGB, at the model's size.
        weight: mode ``L``, at the model's size: 255 puts back all of the detail, 0 nothing.
    """

    rendering: Image.Image
    weight: Image.Image


def paste_with_detail(
    photograph: Image.Image,
    generated: Image.Image,
    lost: LostDetail,
    geometry: Geometry,
    opacity: Image.Image,
) -> Image.Image:
    """Return a photograph with the generated picture, and its lost detail, pasted into the crop.

    A pixel whose opacity is 0 stays as it is, and so does one whose weight is 255 if the generated
    picture equals the rendering there.

    Args:
        photograph: mode ``RGB``, ``L`` or ``I;16``.
        generated: the generated picture at the model's size, mode ``RGB`` or ``L``, in the
            photograph's colours.
        lost: the detail; its rendering is like ``generated``.
        geometry: the crop that the picture was generated for.
        opacity: mode ``L``, of the crop's size.
    """
    result = photograph.copy()
    unit = 257 if photograph.mode == "I;16" else 1  # a level of 8 bits, in those of the photograph
    rows = max(1, PIXELS_AT_ONCE // geometry.width)
    for top in range(0, geometry.height, rows):
        bottom = min(top + rows, geometry.height)
        opaque = opacity.crop((0, top, geometry.width, bottom))
        if opaque.getextrema() == (0, 0):
            continue
        drawn, known = (
            _strip(picture, geometry, top, bottom, Image.Resampling.LANCZOS) * unit
            for picture in (generated, lost.rendering)
        )
        weight = _strip(lost.weight, geometry, top, bottom, Image.Resampling.BILINEAR) / 255
        opacities = np.asarray(opaque, dtype=np.float32) / 255
        left, _, right, _ = geometry.box
        box = left, geometry.top + top, right, geometry.top + bottom
        kept = np.asarray(photograph.crop(box))
        if kept.ndim == 3:
            weight, opacities = weight[..., None], opacities[..., None]
        values = kept + opacities * (drawn - kept + weight * (kept - known))
        values = np.rint(values.clip(0, 255 * unit)).astype(kept.dtype)
        result.paste(Image.fromarray(values), box)
    return result


def _strip(
    picture: Image.Image,
    geometry: Geometry,
    top: int,
    bottom: int,
    resample: Image.Resampling,
) -> NDArray[np.float32]:
    """Return rows ``top`` to ``bottom`` of a picture that is scaled to the crop's size."""
    scale = picture.height / geometry.height
    size, box = (geometry.width, bottom - top), (0, top * scale, picture.width, bottom * scale)
    return np.asarray(picture.resize(size, resample, box=box), dtype=np.float32)
