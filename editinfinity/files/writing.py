"""Write pictures: PNG in the workflow's results, the input's format on the command line."""

from __future__ import annotations

import io
import logging
import os
import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from PIL import ExifTags, Image, JpegImagePlugin, PngImagePlugin

from editinfinity.errors import UserError, first_sentence
from editinfinity.files.atomic import write_bytes
from editinfinity.files.formats import require_plugin
from editinfinity.files.geometry import Size
from editinfinity.files.images import PNG_OPTIONS
from editinfinity.files.metadata import (
    PARAMETERS_KEY,
    SETTINGS_KEY,
    Metadata,
    settings_in,
    with_parameters,
    with_resolution,
    with_settings,
    without_maker_note,
)
from editinfinity.files.opening import open_picture
from editinfinity.files.photograph import Photograph
from editinfinity.files.provenance import parameters_of

log = logging.getLogger(__name__)

FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".avif": "AVIF",
    ".heic": "HEIF",
    ".heif": "HEIF",
    ".hif": "HEIF",
}
"""Suffix → format, for the formats that can store a picture with its metadata and settings."""

_MAX_SIDES = {"JPEG": 65_500, "WEBP": 16_383, "AVIF": 65_536, "HEIF": 16_384}
"""Format → its maximum width and height in pixels."""

_MAX_JPEG_EXIF, _MAX_JPEG_XMP = 65_533, 65_502
"""Maximum size of EXIF and of XMP in a JPEG, in bytes; each must fit into one segment."""

QUALITY = 95
"""Quality of a JPEG, WebP, AVIF or HEIC that does not take its quality from an original JPEG."""


def write_photograph(
    path: Path, photograph: Photograph, settings: str | None = None, like: Path | None = None
) -> None:
    """Write a photograph atomically, with its alpha, profile, metadata and settings.

    Equal arguments give equal bytes.

    Args:
        path: the output file; its suffix determines the format.
        photograph: the photograph to write.
        settings: JSON of the settings that it was made with, if any; without, those of an earlier
            edit are removed.
        like: the original file. A JPEG is written with the original's quality, and a WebP without
            loss if the original is lossless.

    Raises:
        UserError: the suffix is unknown, or the format cannot store the picture.
    """
    write_bytes(path, encode_photograph(path, photograph, settings, like))


def require_writable_as(path: Path, size: Size) -> None:
    """Check that a picture can be written in the format of a file, before it is made.

    Args:
        path: the output file; its suffix determines the format.
        size: (height, width) of the picture.

    Raises:
        UserError: the suffix is unknown, the format needs a package that is not installed, or the
            picture is too large for it.
    """
    format_ = FORMATS.get(path.suffix.lower())
    if format_ is None:
        known = ", ".join(FORMATS)
        raise UserError(f"{path}: cannot be written in that format; choose one of {known}")
    require_plugin(path, format_)
    if max(size) > (limit := _MAX_SIDES.get(format_, max(size))):
        others = ".png or .tif" if max(size) > _MAX_SIDES["JPEG"] else ".png, .tif or .jpg"
        raise UserError(f"{path}: {format_} has at most {limit} pixels a side; choose {others}")


def encode_photograph(
    path: Path,
    photograph: Photograph,
    settings: str | None = None,
    like: Path | None = None,
    chosen: Mapping[str, Any] = MappingProxyType({}),
) -> bytes:
    """Return the bytes that ``write_photograph`` would write to ``path``, without writing them.

    Metadata that the format cannot store are left out, with a warning.

    Args:
        path, photograph, settings, like: see ``write_photograph``.
        chosen: arguments of Pillow's ``save`` that replace those chosen here, such as ``quality``.

    Raises:
        UserError: the suffix is unknown, or the format cannot store the picture.
    """
    require_writable_as(path, photograph.size)
    format_ = FORMATS[path.suffix.lower()]
    picture, options = photograph.picture(), dict[str, Any]()
    if format_ in ("JPEG", "WEBP", "AVIF", "HEIF"):
        picture = _convert_to_8_bits(picture, path)
    if format_ == "JPEG":
        options = _jpeg_quality_like(like)
        picture = _convert_for_jpeg(picture, path)
    elif format_ == "WEBP":
        options = {"lossless": _is_lossless_webp(like), "quality": QUALITY, "exact": True}
    elif format_ in ("AVIF", "HEIF"):
        options = {"quality": QUALITY}
    if photograph.profile is not None:
        options["icc_profile"] = photograph.profile
    metadata = photograph.metadata
    try:
        stored = _save_options(path, format_, metadata.without_settings(), settings, picture.size)
        return _encoded(picture, format_, {**options, **stored, **chosen})
    except _SAVE_ERRORS as error:
        if metadata == Metadata():
            raise UserError(
                f"{path}: cannot be written as {format_} ({first_sentence(error)})"
            ) from None
        log.warning(
            "%s: its EXIF and XMP cannot be written (%s) and are left out",
            path,
            first_sentence(error),
        )
        bare = replace(photograph, metadata=Metadata())
        return encode_photograph(path, bare, settings, like, chosen)


_SAVE_ERRORS = (OSError, KeyError, ValueError, TypeError, RuntimeError, struct.error, OverflowError)


def _encoded(picture: Image.Image, format_: str, options: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format_, **options)
    return buffer.getvalue()


def _save_options(
    path: Path, format_: str, metadata: Metadata, settings: str | None, size: tuple[int, int]
) -> dict[str, Any]:
    """Return metadata and settings as arguments of Pillow's ``save`` for a format.

    ``size`` is (width, height).
    """
    options: dict[str, Any] = {}
    exif, parameters = metadata.exif, parameters_of(settings, size[::-1])
    if metadata.dpi is not None:
        if format_ in ("PNG", "JPEG"):
            options["dpi"] = metadata.dpi
        else:
            exif = with_resolution(exif, metadata.dpi)
    if format_ == "JPEG":
        exif = _exif_for_jpeg(exif, path)
    if parameters is not None and format_ != "PNG":
        with suppress(*_SAVE_ERRORS):  # the photograph's EXIF is worth more
            extended = with_parameters(exif, parameters)
            if format_ != "JPEG" or len(extended or b"") <= _MAX_JPEG_EXIF:
                exif = extended
    if exif:
        options["exif"] = exif
    if format_ == "PNG":
        text = PngImagePlugin.PngInfo()
        if settings is not None:
            text.add_itxt(SETTINGS_KEY, settings)
        if parameters is not None:
            text.add_text(PARAMETERS_KEY, parameters)  # an iTXt chunk only where it must be
        if metadata.xmp is not None:
            text.add_itxt("XML:com.adobe.xmp", metadata.xmp.decode("utf-8", "replace"))
        return {**options, "pnginfo": text, **PNG_OPTIONS}
    xmp = metadata.xmp if settings is None else with_settings(metadata.xmp, settings)
    if format_ == "JPEG":
        xmp = _xmp_for_jpeg(xmp, settings, path)
    if format_ == "TIFF":
        # Pillow's TIFF writer takes XMP as one of the EXIF tags.
        tags = Image.Exif()
        tags.load(exif or b"")
        if xmp is not None:
            tags[_TIFF_XMP] = xmp
        if ExifTags.IFD.Exif in tags:
            # Pillow would copy the old file offset of the Interop directory; pass its content.
            exif_directory = tags.get_ifd(ExifTags.IFD.Exif)
            if ExifTags.IFD.Interop in exif_directory:
                exif_directory[ExifTags.IFD.Interop] = tags.get_ifd(ExifTags.IFD.Interop)
        # No compression: libtiff, which Pillow uses to compress, drops EXIF sub-directories.
        return {**options, "exif": tags}
    if xmp is not None:
        options["xmp"] = xmp
    return options


def _exif_for_jpeg(exif: bytes | None, path: Path) -> bytes | None:
    """Return EXIF that fits into a JPEG: without the maker note if it is too long, or None."""
    if exif is None or len(exif) <= _MAX_JPEG_EXIF:
        return exif
    exif = without_maker_note(exif)
    fits = len(exif) <= _MAX_JPEG_EXIF
    what = "maker note of its EXIF" if fits else "EXIF"
    log.warning("%s: the %s is too long for a JPEG and is left out", path, what)
    return exif if fits else None


def _xmp_for_jpeg(xmp: bytes | None, settings: str | None, path: Path) -> bytes | None:
    """Return XMP that fits into a JPEG: only the settings if it is too long, or None."""
    if xmp is None or len(xmp) <= _MAX_JPEG_XMP:
        return xmp
    only_settings = None if settings is None else with_settings(None, settings)
    if only_settings is not None and len(only_settings) <= _MAX_JPEG_XMP:
        log.warning("%s: the XMP is too long for a JPEG and is left out", path)
        return only_settings
    log.warning("%s: the XMP and the settings are too long for a JPEG and are left out", path)
    return None


_TIFF_XMP = 700


def _jpeg_quality_like(like: Path | None) -> dict[str, Any]:
    """Return the quantisation and subsampling of the original JPEG, so that little more is lost.

    If the original is not a JPEG, return ``QUALITY`` without subsampling.
    """
    if like is not None:
        try:
            with Image.open(like, formats=["JPEG"]) as original:
                assert isinstance(original, JpegImagePlugin.JpegImageFile)
                sampling = JpegImagePlugin.get_sampling(original)
                if original.mode in ("RGB", "L") and original.quantization:
                    tables = {"qtables": original.quantization}
                    return tables if sampling < 0 else {**tables, "subsampling": sampling}
        except (OSError, SyntaxError):
            pass  # not a JPEG
    return {"quality": QUALITY, "subsampling": 0}


def _convert_to_8_bits(picture: Image.Image, path: Path) -> Image.Image:
    if picture.mode != "I;16":
        return picture
    log.warning("%s: its format has 8 bits per channel; only 8 of the 16 are kept", path)
    grey = picture.point(lambda value: value / 257).convert("L")
    grey.info = picture.info
    return grey


def _convert_for_jpeg(picture: Image.Image, path: Path) -> Image.Image:
    if picture.mode not in ("RGBA", "LA"):
        return picture
    log.warning("%s: JPEG has no transparency; the picture is put on white", path)
    background = Image.new(picture.mode, picture.size, "white")
    opaque = Image.alpha_composite(background.convert("RGBA"), picture.convert("RGBA"))
    result = opaque.convert("RGB" if picture.mode == "RGBA" else "L")
    result.info = picture.info
    return result


def _is_lossless_webp(like: Path | None) -> bool:
    """Return whether the original is a lossless WebP (its image chunk is VP8L)."""
    if like is None or like.suffix.lower() != ".webp":
        return False
    with like.open("rb") as file:
        file.seek(12)  # skip "RIFF", size, "WEBP"; other chunks may precede the image chunk
        while len(head := file.read(8)) == 8:
            if head[:4] in (b"VP8L", b"VP8 ", b"ANMF"):
                return head[:4] == b"VP8L"
            size = int.from_bytes(head[4:], "little")
            file.seek(size + size % 2, os.SEEK_CUR)
    return False


def read_settings(path: Path) -> str | None:
    """Return the settings embedded in a picture, if any.

    Raises:
        UserError: the picture cannot be read.
    """
    return settings_in(open_picture(path))
