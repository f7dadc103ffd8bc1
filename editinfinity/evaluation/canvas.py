"""What metrics are computed on: pictures and masks as the benchmark's evaluator takes them.

Its quirks are kept: nothing is cropped to a region, pictures are multiplied by a mask over the
whole canvas; the four border lines of a mask count as edited; of a picture that is not square only
the right-bottom 512² is looked at.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 512
"""Side in pixels of the benchmark's pictures."""

Pixels = NDArray[np.uint8]
"""(H, W, 3) sRGB bytes."""

Mask = NDArray[np.bool_]
"""(H, W), True where the picture is edited."""


def evaluator_canvas(picture: Image.Image) -> Pixels:
    """A picture as the evaluator looks at it, (512, 512, 3).

    Of one that is not square the right-bottom 512² is kept, unscaled (which suits editors that put
    results beside one another; where it is smaller, black fills the rest). A square one of another
    side is brought to 512 by Lanczos, which the evaluator leaves to whoever calls it.
    """
    picture = picture.convert("RGB")
    width, height = picture.size
    if width != height:
        picture = picture.crop((width - SIDE, height - SIDE, width, height))
    elif width != SIDE:
        picture = picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    return np.array(picture)


def canvas_size(height: int, width: int) -> tuple[int, int]:
    """(height, width) of a canvas for pictures of a shape: 512² for square ones.

    Others keep their shape at the area of 512², to whole pixels. A benchmark has none such; the
    right-bottom square of a wide photograph would tell nothing of its edit.
    """
    scale = SIDE / (height * width) ** 0.5
    return max(1, round(height * scale)), max(1, round(width * scale))


def on_canvas(
    picture: Image.Image,
    size: tuple[int, int],
    box: tuple[float, float, float, float] | None = None,
) -> Pixels:
    """A picture, or a part of it, on a canvas of (height, width), by Lanczos.

    Args:
        box: left, top, right, bottom of the part; None for all.
    """
    picture = picture.convert("RGB")
    target = size[::-1]
    if picture.size == target and box in (None, (0, 0, *target)):
        return np.array(picture)
    return np.array(picture.resize(target, Image.Resampling.LANCZOS, box=box))


def mask_on_canvas(edited: Mask, size: tuple[int, int]) -> Mask:
    """A mask of any size on a canvas of (height, width), nearest cell, without borders added."""
    picture = Image.fromarray(edited.astype(np.uint8) * 255)
    return np.array(picture.resize(size[::-1], Image.Resampling.NEAREST)) > 0


def with_border(edited: Mask) -> Mask:
    """The mask with its four border lines edited, as the benchmark decodes its own."""
    edited = edited.copy()
    edited[[0, -1], :] = True
    edited[:, [0, -1]] = True
    return edited
