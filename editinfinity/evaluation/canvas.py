"""Convert pictures and masks to the canvas on which metrics are computed.

This reproduces the quirks of the benchmark's evaluator. Pictures are not cropped to a region, but
multiplied by a mask over the whole canvas. The outermost row or column of pixels on each of the
four sides of a mask counts as edited. Of a picture that is not square, only the bottom-right 512²
is used.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 512
"""Side of the benchmark's pictures, in pixels."""

Pixels = NDArray[np.uint8]
"""(H, W, 3) sRGB bytes."""

Mask = NDArray[np.bool_]
"""(H, W), True where the picture is edited."""


def evaluator_canvas(picture: Image.Image) -> Pixels:
    """Return a picture as the evaluator sees it, (512, 512, 3).

    A picture that is not square is cropped to its bottom-right 512², unscaled, because some editors
    write several results side by side into one picture. If it is smaller, the rest is black. A
    square picture of another size is resized to 512² by Lanczos; the evaluator leaves that to its
    caller.
    """
    picture = picture.convert("RGB")
    width, height = picture.size
    if width != height:
        picture = picture.crop((width - SIDE, height - SIDE, width, height))
    elif width != SIDE:
        picture = picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    return np.array(picture)


def canvas_size(height: int, width: int) -> tuple[int, int]:
    """Return the (height, width) of the canvas for pictures of a size: 512² for square ones.

    Other pictures keep their aspect ratio at the area of 512², rounded to whole pixels. The
    benchmark has only square pictures. The evaluator's bottom-right crop of a wide photograph could
    miss the edit.
    """
    scale = SIDE / (height * width) ** 0.5
    return max(1, round(height * scale)), max(1, round(width * scale))


def on_canvas(
    picture: Image.Image,
    size: tuple[int, int],
    box: tuple[float, float, float, float] | None = None,
) -> Pixels:
    """Resize a picture, or a part of it, to a canvas by Lanczos.

    Args:
        picture: the picture.
        size: (height, width) of the canvas.
        box: left, top, right and bottom of the part; None for the whole picture.
    """
    picture = picture.convert("RGB")
    target = size[::-1]
    if picture.size == target and box in (None, (0, 0, *target)):
        return np.array(picture)
    return np.array(picture.resize(target, Image.Resampling.LANCZOS, box=box))


def mask_on_canvas(edited: Mask, size: tuple[int, int]) -> Mask:
    """Resize a mask to a canvas of (height, width), nearest neighbour, without adding borders."""
    picture = Image.fromarray(edited.astype(np.uint8) * 255)
    return np.array(picture.resize(size[::-1], Image.Resampling.NEAREST)) > 0


def with_border(edited: Mask) -> Mask:
    """Return the mask with its four border lines set, as the benchmark does with its own masks."""
    edited = edited.copy()
    edited[[0, -1], :] = True
    edited[:, [0, -1]] = True
    return edited
