"""Colour profiles: the model knows sRGB, photographs come in others and go back so."""

from __future__ import annotations

import io
import logging

from PIL import Image, ImageCms

log = logging.getLogger(__name__)


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """RGB as its ICC profile means it → sRGB; as it is without one, or with one nobody can use."""
    return image if profile is None else _convert(image, profile, forth=True)


def from_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """The way back of ``to_srgb``: sRGB → RGB of an ICC profile."""
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
