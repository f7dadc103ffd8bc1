"""The geometry of the model's view: which part of a photograph the model sees.

A crop with the nearest of Infinity's aspect ratios is taken from the centre of the photograph and
scaled to the model's image size. Bit codes, training, masks and attention maps all use the same
``Geometry``, and the edit is pasted back with it. (Upstream squashes the photograph for the codes
and crops it for training.)
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
"""Maximum relative difference between the aspect ratios of a mask and its photograph.

Within it, the mask is scaled to the photograph.
"""


def require_same_aspect_ratio(path: Path | str, mask_size: Size, photograph_size: Size) -> None:
    """Check that a mask has the photograph's aspect ratio.

    Args:
        path: the mask, for messages.
        mask_size: (height, width) of the mask.
        photograph_size: (height, width) of the photograph.

    Raises:
        UserError: the aspect ratios differ by more than ``ASPECT_TOLERANCE``.
    """
    ratio = (mask_size[1] / mask_size[0]) / (photograph_size[1] / photograph_size[0])
    if abs(ratio - 1) > ASPECT_TOLERANCE:
        turned = (mask_size[0] / mask_size[1]) / (photograph_size[1] / photograph_size[0])
        lies_on_its_side = abs(turned - 1) <= ASPECT_TOLERANCE
        cure = "turn it upright too" if lies_on_its_side else "draw the mask at that aspect ratio"
        raise UserError(
            f"{path}: is {mask_size[1]}×{mask_size[0]} pixels but the photograph, upright, is "
            f"{photograph_size[1]}×{photograph_size[0]}; {cure}"
        )


@dataclass(frozen=True)
class Geometry:
    """Which part of a photograph the model sees, and at what size.

    Attributes:
        image_size: the photograph's (height, width).
        top, left, height, width: the crop, in pixels of the photograph.
        model_size: the model's (height, width); its aspect ratio is the crop's, to half a pixel.
    """

    image_size: Size
    top: int
    left: int
    height: int
    width: int
    model_size: Size

    @classmethod
    def fit(cls, image_size: Size, model_size: Size) -> Geometry:
        """Return the largest centred crop that has the model's aspect ratio."""
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
        """As ``fit``, but inside a region (top, left, height, width) of the photograph if given."""
        if region is None:
            return cls.fit(image_size, model_size)
        top, left, height, width = region
        inner = cls.fit((height, width), model_size)
        return cls(
            image_size, top + inner.top, left + inner.left, inner.height, inner.width, model_size
        )

    @property
    def box(self) -> tuple[int, int, int, int]:
        """The crop in Pillow's order: left, top, right, bottom."""
        return self.left, self.top, self.left + self.width, self.top + self.height

    def crop_mask(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return the part of a mask (H, W of the photograph) that the model sees, unscaled."""
        return mask[self.top : self.top + self.height, self.left : self.left + self.width]

    def to_dict(self) -> dict[str, Any]:
        """Return the geometry as a dictionary for file metadata."""
        return {
            "image_size": list(self.image_size),
            "crop": [self.top, self.left, self.height, self.width],
            "model_size": list(self.model_size),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Geometry:
        """Create the geometry from a dictionary made by ``to_dict``."""
        top, left, height, width = values["crop"]
        image_size, model_size = tuple(values["image_size"]), tuple(values["model_size"])
        return cls(image_size, top, left, height, width, model_size)
