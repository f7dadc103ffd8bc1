"""Colour conversion between sRGB, which the model uses, and a photograph's own ICC profile."""

from __future__ import annotations

import io
import logging

from PIL import Image, ImageCms

log = logging.getLogger(__name__)


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert a picture with an ICC profile to sRGB; unchanged if there is no usable profile."""
    return image if profile is None else _convert(image, profile, towards_srgb=True)


def from_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert sRGB to RGB with an ICC profile, the inverse of ``to_srgb``."""
    return image if profile is None else _convert(image, profile, towards_srgb=False)


def _convert(image: Image.Image, profile: bytes, towards_srgb: bool) -> Image.Image:
    """Convert from ``profile`` to sRGB, or else from sRGB to ``profile``."""
    try:
        embedded = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "sRGB" in ImageCms.getProfileDescription(embedded):
            return image
        srgb = ImageCms.createProfile("sRGB")
        source, target = (embedded, srgb) if towards_srgb else (srgb, embedded)
        converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        log.warning("the colour profile cannot be used (%s); sRGB is assumed", error)
        return image
    return image if converted is None else converted
