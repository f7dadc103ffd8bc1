"""The original photograph with its pixels, alpha, colour profile and metadata.

They are kept so that the edited photograph can be written with them. The model's input comes from
:func:`editinfinity.files.images.read_image` instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

from editinfinity.files.colour import can_convert, from_srgb, to_srgb
from editinfinity.files.geometry import Geometry, Size
from editinfinity.files.images import model_pixels, to_model
from editinfinity.files.lost_detail import LostDetail, paste_with_detail
from editinfinity.files.lost_parts import lost_parts
from editinfinity.files.metadata import Metadata, metadata_of
from editinfinity.files.opening import MAX_TEXT_BYTES, open_picture
from editinfinity.files.pixels import is_transparent, to_grey, to_rgb

_GREY_16_BIT = ("I;16", "I;16L", "I;16B", "I;16N")


@dataclass(frozen=True)
class Photograph:
    """Everything in a photograph that an edit must preserve.

    Attributes:
        pixels: upright picture of mode ``RGB``, ``L`` or ``I;16`` (16-bit grey), not composited
            over a background.
        alpha: alpha channel, mode ``L``, of the same size; or None.
        profile: the ICC profile of ``pixels``, or None.
        metadata: EXIF, XMP and resolution.
        format: Pillow's name of the file's format.
        warnings: one message for each property of the file that could not be preserved.
    """

    pixels: Image.Image
    alpha: Image.Image | None = None
    profile: bytes | None = None
    metadata: Metadata = field(default_factory=Metadata)
    format: str = "PNG"
    warnings: tuple[str, ...] = ()

    @property
    def size(self) -> Size:
        """(height, width)."""
        return self.pixels.height, self.pixels.width

    def paste(
        self,
        generated: Image.Image,
        geometry: Geometry,
        opacity: Image.Image | None,
        lost: LostDetail | None = None,
    ) -> Photograph:
        """Return the photograph with generated pixels pasted into the model's crop.

        Args:
            generated: the generated picture, sRGB, at the model's size.
            geometry: the crop that it was generated for.
            opacity: mode ``L``, of the crop's size: 0 keeps the photograph's exact pixels, 255
                uses the generated ones. None uses the generated pixels everywhere.
            lost: the photograph's detail that the generated picture lacks, and where it is put
                back; None for nowhere.
        """
        size = (geometry.width, geometry.height)
        patch = self._in_own_colours(generated)
        if lost is not None:
            lost = replace(lost, rendering=self._in_own_colours(lost.rendering))
            opacity = opacity or Image.new("L", size, 255)
            pixels = paste_with_detail(self.pixels, patch, lost, geometry, opacity)
            return replace(self, pixels=pixels)
        if patch.size != size:
            patch = patch.resize(size, Image.Resampling.LANCZOS)
        pixels = self.pixels.copy()
        if pixels.mode == "I;16":
            pixels = _paste_16_bit(pixels, patch, geometry, opacity)
        else:
            pixels.paste(patch, (geometry.left, geometry.top), opacity)
        return replace(self, pixels=pixels)

    def seen(self, geometry: Geometry) -> Image.Image:
        """Return the part that the model sees, as it sees it: RGB, sRGB, at the model's size."""
        picture = to_model(to_rgb(self.picture()), geometry)
        return Image.fromarray(model_pixels(picture))

    def _in_own_colours(self, picture: Image.Image) -> Image.Image:
        """Convert a picture in sRGB to the photograph's profile, in RGB or grey of 8 bits."""
        mode = "RGB" if self.pixels.mode == "RGB" else "L"
        return from_srgb(picture.convert("RGB"), self.profile, mode)

    def without_location(self) -> Photograph:
        """Return a copy without the location where the photograph was taken."""
        return replace(self, metadata=self.metadata.without_location())

    def picture(self) -> Image.Image:
        """Return pixels, alpha and profile as one picture, of mode RGB, RGBA, L, LA or I;16."""
        merged = self.pixels.copy()
        if self.alpha is not None:
            merged.putalpha(self.alpha)
        if self.profile is not None:
            merged.info["icc_profile"] = self.profile  # Pillow saves this profile with the picture
        return merged


def _paste_16_bit(
    pixels: Image.Image, patch: Image.Image, geometry: Geometry, opacity: Image.Image | None
) -> Image.Image:
    """As ``Photograph.paste`` for 16-bit grey, which Pillow cannot blend."""
    values = np.array(pixels)
    crop = np.s_[
        geometry.top : geometry.top + geometry.height,
        geometry.left : geometry.left + geometry.width,
    ]
    generated = np.asarray(patch, dtype=np.float32) * 257
    weight = np.float32(1) if opacity is None else np.asarray(opacity, dtype=np.float32) / 255
    values[crop] = np.rint(values[crop] * (1 - weight) + generated * weight).astype(values.dtype)
    return Image.fromarray(values)


def read_photograph(path: Path) -> Photograph:
    """Load a photograph with everything that an edit must preserve.

    16-bit grey is kept. Other content is converted: 16-bit colour and 32-bit grey to 8-bit, CMYK
    to sRGB, palettes to RGB, and animations to their first frame. Except for palettes, ``warnings``
    gets a message for each conversion.

    Raises:
        UserError: the file is missing, damaged, not a picture, or too large.
    """
    image = open_picture(path)
    return photograph_of(image, str(path), lost_parts(path))


def photograph_of(
    image: Image.Image, name: str = "the picture", warnings: Sequence[str] = ()
) -> Photograph:
    """As ``read_photograph``, for an open picture that is upright already."""
    notes = list(warnings)
    metadata, format_ = metadata_of(image, name, notes), image.format or "PNG"
    profile, alpha = image.info.get("icc_profile") or None, None
    if image.mode in _GREY_16_BIT:
        pixels = image if image.mode == "I;16" else Image.fromarray(np.asarray(image).astype("<u2"))
    elif image.mode in ("I", "F"):
        pixels, profile = to_grey(image, background=255), None
    elif image.mode in ("CMYK", "LAB"):
        pixels, profile = to_rgb(image), None
    else:
        is_grey = image.mode in ("1", "L", "LA", "La")
        if is_transparent(image):
            image = image.convert({"RGBa": "RGBA", "La": "LA"}.get(image.mode, image.mode))
            image = image.convert("LA" if is_grey else "RGBA")
            alpha = image.getchannel("A")
        pixels = image.convert("L" if is_grey else "RGB")
    pixels.info = {}
    if profile is not None:
        pixels, profile = _with_usable_profile(pixels, profile, name, notes)
    return Photograph(pixels, alpha, profile, metadata, format_, tuple(notes))


def _with_usable_profile(
    pixels: Image.Image, profile: bytes, name: str, warnings: list[str]
) -> tuple[Image.Image, bytes | None]:
    """Return pixels and a profile to which generated colours can be converted; None for sRGB.

    Pixels of a profile that leads only to sRGB, or is too large for a file, are converted to sRGB.
    A message for each change is added to ``warnings``.
    """
    mode = "RGB" if pixels.mode == "RGB" else "L"
    if not can_convert(mode, profile, towards_srgb=True):
        warnings.append(f"{name}: its colour profile cannot be used; sRGB is assumed")
        return pixels, None
    if len(profile) <= MAX_TEXT_BYTES and can_convert(mode, profile, towards_srgb=False):
        return pixels, profile
    warnings.append(f"{name}: its colour profile cannot be used for the result, which is sRGB")
    if mode == "RGB":
        return to_srgb(pixels, profile), None
    return to_srgb(to_grey(pixels, background=255), profile).convert("L"), None
