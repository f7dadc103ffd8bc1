"""Colour conversion between sRGB, which the model uses, and a photograph's own ICC profile."""

from __future__ import annotations

import io
import logging

from PIL import Image, ImageCms

log = logging.getLogger(__name__)


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert a picture with an ICC profile to sRGB; unchanged if there is no usable profile."""
    return image if profile is None else _convert(image, profile, forth=True)


def from_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert sRGB to RGB with an ICC profile, the inverse of ``to_srgb``."""
    return image if profile is None else _convert(image, profile, forth=False)


def _convert(image: Image.Image, profile: bytes, forth: bool) -> Image.Image:
    try:
        theirs = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "sRGB" in ImageCms.getProfileDescription(theirs):
            return image
        ours = ImageCms.createProfile("sRGB")
        source, target = (theirs, ours) if forth else (ours, theirs)
        converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        log.warning("the colour profile cannot be used (%s); colours are taken as sRGB", error)
        return image
    return image if converted is None else converted
