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
        weight: mode ``L``, of any size: 255 puts back all of the detail, 0 nothing.
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
    left, first, right, last = opacity.getbbox() or (0, 0, 0, 0)
    rows = max(1, PIXELS_AT_ONCE // max(1, right - left))
    for top in range(first, last, rows):
        box = left, top, right, min(top + rows, last)
        drawn, known = (
            _part(picture, geometry, box, Image.Resampling.LANCZOS) * unit
            for picture in (generated, lost.rendering)
        )
        weight = _part(lost.weight, geometry, box, Image.Resampling.BILINEAR) / 255
        opacities = np.asarray(opacity.crop(box), dtype=np.float32) / 255
        place = (
            box[0] + geometry.left, box[1] + geometry.top,
            box[2] + geometry.left, box[3] + geometry.top,
        )  # fmt: skip
        kept = np.asarray(photograph.crop(place))
        if kept.ndim == 3:
            weight, opacities = weight[..., None], opacities[..., None]
        values = kept + opacities * (drawn - kept + weight * (kept - known))
        values = np.rint(values.clip(0, 255 * unit)).astype(kept.dtype)
        result.paste(Image.fromarray(values), place)
    return result


def _part(
    picture: Image.Image,
    geometry: Geometry,
    box: tuple[int, int, int, int],
    resample: Image.Resampling,
) -> NDArray[np.float32]:
    """Return a part (left, top, right, bottom) of a picture that is scaled to the crop's size."""
    across, down = picture.width / geometry.width, picture.height / geometry.height
    left, top, right, bottom = box
    source = left * across, top * down, right * across, bottom * down
    part = picture.resize((right - left, bottom - top), resample, box=source)
    return np.asarray(part, dtype=np.float32)
