"""Colour conversion between sRGB, which the model uses, and a photograph's own ICC profile.

What a profile is called does not matter: one whose numbers mean the same as those of sRGB is found
by converting colours with it.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageCms

_SAME = 2
"""Maximum difference of an 8-bit value by which a profile counts as sRGB: rounding of its curves.

A gamma of 2.2, which is the nearest other curve in use, differs by 7 in dark colours.
"""
_ERRORS = (ImageCms.PyCMSError, OSError, ValueError, TypeError)
_MODES = {"RGB": ("RGB",), "L": ("GRAY", "RGB"), "CMYK": ("CMYK",), "LAB": ()}
"""Mode of a picture → the colour spaces that its profile may have."""


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert a picture with an ICC profile to sRGB, mode RGB.

    It is unchanged if there is no usable profile, or if the profile is that of sRGB.

    Args:
        image: of mode RGB, L, CMYK or LAB.
        profile: its profile. A picture of mode LAB needs none.
    """
    if profile is None and image.mode != "LAB":
        return image
    try:
        if image.mode == "L" and _space(profile) == "RGB":
            image = image.convert("RGB")  # equal amounts of red, green and blue
        transform = _transform(image.mode, profile, towards_srgb=True)
        return image if transform is None else _applied(transform, image)
    except _ERRORS:
        return image


def from_srgb(image: Image.Image, profile: bytes | None, mode: str = "RGB") -> Image.Image:
    """Convert sRGB to a picture of ``mode`` with an ICC profile, the inverse of ``to_srgb``.

    Args:
        image: of mode RGB.
        profile: the profile of the result; None, or an unusable one, stands for sRGB.
        mode: RGB or L.
    """
    if profile is None:
        return image.convert(mode)
    try:
        target = "RGB" if _space(profile) == "RGB" else mode
        transform = _transform(target, profile, towards_srgb=False)
        return (image if transform is None else _applied(transform, image)).convert(mode)
    except _ERRORS:
        return image.convert(mode)


def can_convert(mode: str, profile: bytes, towards_srgb: bool) -> bool:
    """Return whether a picture's profile can be used in one direction.

    Profiles of scanners often lead only to other colours and not back.

    Args:
        mode: mode of the picture: RGB, L or CMYK.
        profile: its ICC profile.
        towards_srgb: whether to convert from the profile to sRGB, or else from sRGB to it.
    """
    try:
        space = _space(profile)
        _transform("RGB" if space == "RGB" else mode, profile, towards_srgb)
    except _ERRORS:
        return False
    return space in _MODES.get(mode, ())


def _space(profile: bytes | None) -> str:
    """Return the colour space of a profile, such as RGB, GRAY or CMYK."""
    opened = ImageCms.ImageCmsProfile(io.BytesIO(profile or b""))
    return opened.profile.xcolor_space.strip()


def _transform(
    mode: str, profile: bytes | None, towards_srgb: bool
) -> ImageCms.ImageCmsTransform | None:
    """Return the conversion between a profile and sRGB; None if it would change nothing.

    Raises:
        PyCMSError, OSError, ValueError, TypeError: the profile cannot be used so.
    """
    if mode == "LAB":
        own = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    else:
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile or b""))
    source, target = (own, _srgb()) if towards_srgb else (_srgb(), own)
    modes = (mode, "RGB") if towards_srgb else ("RGB", mode)
    transform = ImageCms.buildTransform(source, target, *modes)
    return None if _is_srgb(mode, own) else transform


def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _is_srgb(mode: str, profile: ImageCms.ImageCmsProfile) -> bool:
    """Return whether a profile's numbers mean the same as those of sRGB."""
    if mode not in ("RGB", "L"):
        return False
    if mode == "RGB":
        steps = np.linspace(0, 255, 18).astype(np.uint8)
        values = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(18, -1, 3)
    else:
        values = np.arange(256, dtype=np.uint8)[None]
    image = Image.fromarray(np.ascontiguousarray(values))
    transform = ImageCms.buildTransform(profile, _srgb(), mode, "RGB")
    converted = np.asarray(_applied(transform, image)).astype(np.int16)
    expected = values if mode == "RGB" else values[..., None]
    return bool(np.abs(converted - expected).max() <= _SAME)


def _applied(transform: ImageCms.ImageCmsTransform, image: Image.Image) -> Image.Image:
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None  # it is None only when the conversion is in place
    converted.info.pop("icc_profile", None)  # that of sRGB, with the time at which it was made
    return converted
