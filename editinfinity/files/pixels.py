"""Convert pictures of any mode to 8-bit RGB or grey."""

from __future__ import annotations

import numpy as np
from PIL import Image

from editinfinity.files.colour import to_srgb

HIGH_BIT_DEPTH = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")
"""Pillow's modes with more than 8 bits per channel, all of them grey."""


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert to 8-bit RGB over white.

    Only the profile of an RGB picture stays in ``info``. CMYK, Lab and grey are converted to sRGB,
    by their profile if they have one.
    """
    profile = image.info.get("icc_profile") or None
    if image.mode in ("CMYK", "LAB"):
        return _with_profile_only(to_srgb(image, profile).convert("RGB"))
    if image.mode in ("I", "F"):
        return _with_profile_only(_to_8_bit_grey(image).convert("RGB"))
    if image.mode in ("1", "L", "LA", "La", *HIGH_BIT_DEPTH):
        return _with_profile_only(to_srgb(to_grey(image, 255), profile).convert("RGB"))
    rgb = _flatten(image, 255).convert("RGB") if is_transparent(image) else image.convert("RGB")
    return _with_profile_only(rgb, profile)


def to_grey(image: Image.Image, background: int) -> Image.Image:
    """Convert to 8-bit grey, with transparent parts over ``background`` (0…255)."""
    if image.mode in HIGH_BIT_DEPTH:
        return _to_8_bit_grey(image)
    if is_transparent(image):
        image = _flatten(image, background)
    return image.convert("L")


def is_transparent(image: Image.Image) -> bool:
    """Return whether a picture has an alpha channel or another kind of transparency."""
    return image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info


def _flatten(image: Image.Image, background: int) -> Image.Image:
    """Composite a picture over a uniform grey background."""
    # Pillow converts RGBa and La only to RGBA and LA.
    rgba = image.convert({"RGBa": "RGBA", "La": "LA"}.get(image.mode, "RGBA")).convert("RGBA")
    backdrop = Image.new("RGBA", image.size, (background, background, background, 255))
    return Image.alpha_composite(backdrop, rgba)


def _with_profile_only(image: Image.Image, profile: bytes | None = None) -> Image.Image:
    """Return a copy of a picture whose ``info`` contains only the profile."""
    copy = image.copy()
    copy.info = {"icc_profile": profile} if profile else {}
    return copy


def _to_8_bit_grey(image: Image.Image) -> Image.Image:
    """Scale grey of more than 8 bits to 8 bits (Pillow's own conversion clips).

    If no float exceeds 1, the range is taken as [0, 1]. Other 32-bit values are taken as 8 or 16
    bits, depending on their maximum.
    """
    values = np.nan_to_num(np.asarray(image).astype(np.float64))
    if image.mode.startswith("I;16"):
        white = 65535.0
    else:
        largest = float(values.max(initial=0))
        white = 65535.0 if largest > 255 else 255.0
        if image.mode == "F" and largest <= 1:
            white = 1.0
    return Image.fromarray(np.clip(values / white * 255, 0, 255).round().astype(np.uint8))
