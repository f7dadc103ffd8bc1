"""Preview of a mask: the photograph with the edited part tinted and outlined."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from editinfinity.files.cropping import Region
from editinfinity.files.mask_pictures import Mask

MAX_SIDE = 1024
"""Longest side of a preview, in pixels."""

_TINT, _LINE, _FRAME = (230, 40, 60), (255, 255, 255), (255, 210, 0)


def mask_preview(photograph: Image.Image, mask: Mask, region: Region | None = None) -> Image.Image:
    """Draw a reduced photograph with the edited part in red and the crop as a yellow frame.

    Args:
        photograph: upright RGB picture.
        mask: (H, W) of the photograph, True where edited.
        region: the crop that the model will see; None for the whole photograph.
    """
    scale = min(1.0, MAX_SIDE / max(photograph.size))
    size = max(1, round(photograph.width * scale)), max(1, round(photograph.height * scale))
    preview = photograph.resize(size, Image.Resampling.LANCZOS)
    opacity = Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BILINEAR)
    tinted = Image.blend(preview, Image.new("RGB", size, _TINT), 0.5)
    preview.paste(tinted, (0, 0), opacity)
    binary = opacity.point(lambda value: 255 if value > 127 else 0)
    edge = ImageChops.difference(binary.filter(ImageFilter.MaxFilter(3)), binary)
    preview.paste(_LINE, (0, 0), edge)
    if region is not None:
        top, left, height, width = (round(side * scale) for side in region)
        ImageDraw.Draw(preview).rectangle(
            (left, top, left + width - 1, top + height - 1), outline=_FRAME, width=3
        )
    return preview
