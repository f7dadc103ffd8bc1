"""Which part of a photograph the model sees.

The nearest of Infinity's aspect ratios is cut from the middle of the photograph and scaled to the
model's size. Codes, training, masks and attention all go through this one ``Geometry``, and it
puts the edit back into the photograph. (Upstream squashes for the codes and crops for training.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from editinfinity.errors import UserError

Size = tuple[int, int]
"""(height, width) in pixels."""

ASPECT_TOLERANCE = 0.01
"""How far a mask's shape may be from the photograph's and still be scaled to it."""


def require_shape(path: Path | str, found: Size, size: Size) -> None:
    """Refuse a mask of this size for a photograph of the other.

    Raises:
        UserError: their shapes differ.
    """
    shape = (found[1] / found[0]) / (size[1] / size[0])
    if abs(shape - 1) > ASPECT_TOLERANCE:
        raise UserError(
            f"{path}: is {found[1]}×{found[0]} pixels but the photograph, upright, is "
            f"{size[1]}×{size[0]}; draw the mask over the photograph at the same shape"
        )


@dataclass(frozen=True)
class Geometry:
    """Which part of a photograph the model sees, and at what size.

    Attributes:
        image_size: the photograph's (height, width).
        top, left, height, width: the crop, in pixels of the photograph.
        model_size: the model's (height, width), of the crop's shape to half a pixel.
    """

    image_size: Size
    top: int
    left: int
    height: int
    width: int
    model_size: Size

    @classmethod
    def fit(cls, image_size: Size, model_size: Size) -> Geometry:
        """The largest crop of the model's shape, in the middle."""
        scale = min(image_size[0] / model_size[0], image_size[1] / model_size[1])
        height, width = (
            max(1, min(side, round(scale * target)))
            for side, target in zip(image_size, model_size, strict=True)
        )
        top, left = (image_size[0] - height) // 2, (image_size[1] - width) // 2
        return cls(image_size, top, left, height, width, model_size)

    @classmethod
    def within(
        cls, image_size: Size, region: tuple[int, int, int, int] | None, model_size: Size
    ) -> Geometry:
        """As ``fit``, inside a region (top, left, height, width) of the photograph, if given."""
        if region is None:
            return cls.fit(image_size, model_size)
        top, left, height, width = region
        inner = cls.fit((height, width), model_size)
        return cls(
            image_size, top + inner.top, left + inner.left, inner.height, inner.width, model_size
        )

    @property
    def box(self) -> tuple[int, int, int, int]:
        """The crop as Pillow wants it: left, top, right, bottom."""
        return self.left, self.top, self.left + self.width, self.top + self.height

    def crop_mask(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The part of a mask (H, W of the photograph) that the model sees, unscaled."""
        return mask[self.top : self.top + self.height, self.left : self.left + self.width]

    def to_dict(self) -> dict[str, Any]:
        """For metadata."""
        return {
            "image_size": list(self.image_size),
            "crop": [self.top, self.left, self.height, self.width],
            "model_size": list(self.model_size),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Geometry:
        """Of metadata."""
        top, left, height, width = values["crop"]
        image_size, model_size = tuple(values["image_size"]), tuple(values["model_size"])
        return cls(image_size, top, left, height, width, model_size)
