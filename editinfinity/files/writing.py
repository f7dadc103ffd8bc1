"""Write pictures: PNG in the workflow's results, the input's format on the command line."""

from __future__ import annotations

import io
import logging
import os
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image, JpegImagePlugin, PngImagePlugin

from editinfinity.errors import UserError, first_sentence
from editinfinity.files.atomic import write_bytes
from editinfinity.files.metadata import SETTINGS_KEY, settings_in, with_settings
from editinfinity.files.opening import open_picture
from editinfinity.files.photograph import Photograph
from editinfinity.files.pixels import to_grey, to_rgb

log = logging.getLogger(__name__)

FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".avif": "AVIF",
}
"""Suffix → format, for the formats that can store a picture with its metadata and settings."""

QUALITY = 95
"""Quality of a JPEG, WebP or AVIF that does not take its quality from an original JPEG."""


def write_photograph(
    path: Path, photograph: Photograph, settings: str | None = None, like: Path | None = None
) -> None:
    """Write a photograph atomically, with its alpha, profile, metadata and settings.

    Equal arguments give equal bytes.

    Args:
        path: the output file; its suffix determines the format.
        photograph: the photograph to write.
        settings: JSON of the settings that it was made with, if any.
        like: the original file. A JPEG is written with the original's quality, and a WebP without
            loss if the original is lossless.

    Raises:
        UserError: the suffix is unknown, or the format cannot store the picture.
    """
    write_bytes(path, encode_photograph(path, photograph, settings, like))


def encode_photograph(
    path: Path, photograph: Photograph, settings: str | None = None, like: Path | None = None
) -> bytes:
    """Return the bytes that ``write_photograph`` would write to ``path``, without writing them.

    Raises:
        UserError: the suffix is unknown, or the format cannot store the picture.
    """
    format_ = FORMATS.get(path.suffix.lower())
    if format_ is None:
        known = ", ".join(FORMATS)
        raise UserError(f"{path}: cannot be written in that format; choose one of {known}")
    picture, options = photograph.picture(), _save_options(format_, photograph, settings)
    if format_ == "JPEG":
        options.update(_jpeg_quality_like(like))
        picture = _convert_for_jpeg(picture, path)
    elif picture.mode == "I;16" and format_ in ("WEBP", "AVIF"):
        raise UserError(f"{path}: {format_} has no 16-bit grey; choose .png or .tif")
    elif format_ == "WEBP":
        options.update(lossless=_is_lossless_webp(like), quality=QUALITY, exact=True)
    elif format_ == "AVIF":
        options.update(quality=QUALITY)
    buffer = io.BytesIO()
    try:
        picture.save(buffer, format_, **options)
    except (OSError, KeyError, ValueError) as error:
        raise UserError(
            f"{path}: cannot be written as {format_} ({first_sentence(error)}); choose another one"
        ) from None
    return buffer.getvalue()


def _save_options(format_: str, photograph: Photograph, settings: str | None) -> dict[str, Any]:
    """Return profile and metadata as arguments of Pillow's ``save`` for a format."""
    metadata = photograph.metadata
    options: dict[str, Any] = {}
    if photograph.profile is not None:
        options["icc_profile"] = photograph.profile
    if metadata.exif is not None:
        options["exif"] = metadata.exif
    if format_ == "PNG":
        text = PngImagePlugin.PngInfo()
        if settings is not None:
            text.add_itxt(SETTINGS_KEY, settings)
        if metadata.xmp is not None:
            text.add_itxt("XML:com.adobe.xmp", metadata.xmp.decode("utf-8", "replace"))
        return {**options, "pnginfo": text, "compress_level": _PNG_LEVEL}
    xmp = metadata.xmp if settings is None else with_settings(metadata.xmp, settings)
    if format_ == "TIFF":
        # Pillow's TIFF writer takes XMP as one of the EXIF tags.
        tags = Image.Exif()
        tags.load(metadata.exif or b"")
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


_TIFF_XMP = 700
_PNG_LEVEL = 3
"""zlib level of PNG files.

At 24 million pixels it takes a third of the default level's time, and files are a few per cent
larger.
"""


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


def _convert_for_jpeg(picture: Image.Image, path: Path) -> Image.Image:
    if picture.mode in ("RGBA", "LA"):
        log.warning("%s: JPEG has no transparency; the picture is put on white", path)
        return to_rgb(picture) if picture.mode == "RGBA" else to_grey(picture, background=255)
    if picture.mode == "I;16":
        log.warning("%s: JPEG has 8 bits per channel; only 8 of the 16 are kept", path)
        return picture.point(lambda value: value / 257).convert("L")
    return picture


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
