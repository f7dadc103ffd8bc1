"""Pictures as the page shows and sends them."""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path

from PIL import Image

from editinfinity.errors import UserError
from editinfinity.files.colour import to_srgb
from editinfinity.files.formats import IMAGE_ENDINGS
from editinfinity.files.images import PNG_OPTIONS
from editinfinity.files.masks import read_mask
from editinfinity.files.opening import open_header, open_picture, open_small, size_upright
from editinfinity.files.photograph import read_photograph
from editinfinity.files.pixels import to_rgb
from editinfinity.files.writing import FORMATS, encode_photograph, read_settings

_SHOWN_AS_THEY_ARE = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
"""Formats that browsers show, with their media types."""

_MAX_THUMBNAIL = 2048
"""Largest side of a thumbnail, in pixels."""


def full_picture(path: Path) -> tuple[bytes, str]:
    """Return a picture at full size, upright and in sRGB: (bytes, media type).

    Raises:
        UserError: it cannot be read.
    """
    with open_header(path) as image:
        as_it_is = (
            image.format in _SHOWN_AS_THEY_ARE
            and image.mode in ("RGB", "RGBA", "L")
            and image.getexif().get(0x0112, 1) == 1
            and "icc_profile" not in image.info
            and getattr(image, "n_frames", 1) == 1
        )
        media_type = _SHOWN_AS_THEY_ARE.get(image.format or "", "")
    if as_it_is:
        return path.read_bytes(), media_type
    return _encoded(open_picture(path))


@lru_cache(maxsize=512)
def _thumbnail(path: Path, side: int, modified: int) -> tuple[bytes, str]:
    picture = open_small(path, side)
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    return _encoded(picture)


def thumbnail(path: Path, side: int) -> tuple[bytes, str]:
    """Return a picture of at most ``side`` pixels a side: (bytes, media type)."""
    return _thumbnail(path, max(1, min(side, _MAX_THUMBNAIL)), path.stat().st_mtime_ns)


def view_of(picture: Image.Image) -> bytes:
    """Return a JPEG of a picture as it is seen on a screen, at most as large as a thumbnail."""
    seen = to_rgb(picture)  # a copy if it is RGB already
    seen.thumbnail((_MAX_THUMBNAIL, _MAX_THUMBNAIL), Image.Resampling.LANCZOS)
    return _encoded(seen)[0]


def _encoded(picture: Image.Image) -> tuple[bytes, str]:
    rgb = to_rgb(picture)
    rgb = to_srgb(rgb, rgb.info.get("icc_profile"))
    rgb.info = {}
    buffer = io.BytesIO()
    rgb.save(buffer, "JPEG", quality=92)
    return buffer.getvalue(), "image/jpeg"


def mask_of_page(png: bytes, size: tuple[int, int]) -> bytes | None:
    """Convert a mask from the page, white where edited, to a mask of a case, black where edited.

    Args:
        png: the uploaded picture.
        size: (width, height) of the photograph.

    Returns:
        A PNG; None if nothing is edited.

    Raises:
        UserError: it is not a PNG of the photograph's size.
    """
    try:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as picture:
            if picture.size != size:
                raise UserError(
                    f"the mask has {picture.width}×{picture.height} pixels, but the photograph "
                    f"{size[0]}×{size[1]}"
                )
            grey = picture.convert("L")
    except UserError:
        raise
    except Exception:  # decoders raise almost any exception for damaged files
        raise UserError("the mask is not a PNG that can be read; paint it again") from None
    if not any(grey.histogram()[128:]):
        return None
    return _png(grey.point(lambda value: 0 if value > 127 else 255))


def mask_for_page(path: Path) -> bytes:
    """Convert a mask of a case to the page's, white where edited."""
    return _png(open_picture(path).convert("L").point(lambda value: 0 if value > 127 else 255))


def mask_as_png(mask: Path, photograph: Path) -> bytes:
    """Convert a mask of any kind to a PNG that is black where the photograph is edited.

    Raises:
        UserError: it cannot be read or does not fit the photograph.
    """
    edited = read_mask(mask, size_upright(photograph), photograph=photograph)
    return _png(Image.fromarray(~edited).convert("L"))


def download(picture: Path, photograph: Path) -> tuple[bytes, str]:
    """Return a try in the photograph's format, with metadata and settings: (bytes, ending)."""
    ending = photograph.suffix if photograph.suffix.lower() in FORMATS else ".png"
    settings = read_settings(picture)
    content = encode_photograph(
        photograph.with_suffix(ending), read_photograph(picture), settings, like=photograph
    )
    return content, ending.lower()


def ending_of_upload(path: Path, name: str) -> str:
    """Return the ending for an uploaded file: that of its name if cases use it, else its format's.

    Raises:
        UserError: it is not a picture.
    """
    if (ending := Path(name).suffix.lower()) in IMAGE_ENDINGS:
        return ending
    with open_header(path) as image:
        return {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp"}.get(image.format or "", ".tif")


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", **PNG_OPTIONS)
    return buffer.getvalue()
