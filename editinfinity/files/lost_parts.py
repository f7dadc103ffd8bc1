"""What a photograph's file contains that an edit cannot keep, in one line each.

An edit keeps one 8-bit picture (16-bit grey too). Some files contain more: further pages, a gain
map for HDR displays, a video. Viewers would look for these in the result, so they are told here,
and :mod:`editinfinity.files.xmp` removes what describes them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from editinfinity.files.opening import open_header

_SCANNED_BYTES = 16 * 2**20
"""Part of a file that is searched; these marks are near its beginning or after its picture."""

_PARTS = {
    "HDR gain map": (
        b"http://ns.adobe.com/hdr-gain-map/1.0/",
        b"http://ns.apple.com/HDRGainMap/1.0/",
        b"urn:com.apple:photos:2020:aux:hdrgainmap",
        b"urn:iso:std:iso:ts:21496:-1",
    ),
    "video (motion photo)": (
        b'MotionPhoto="1"',
        b"MotionPhoto>1<",
        b'MicroVideo="1"',
        b"MicroVideo>1<",
        b"MotionPhoto_Data",
    ),
    "depth map": (
        b"http://ns.google.com/photos/1.0/depthmap/",
        b"http://ns.google.com/photos/dd/1.0/",
        b"http://ns.apple.com/depthData/1.0/",
        b"urn:mpeg:hevc:2015:auxid:2",
        b"urn:mpeg:mpegB:cicp:systems:auxiliary:depth",
    ),
    "content credentials (C2PA)": (
        b"jumdc2pa\0\x11\0\x10\x80\0\0\xaa\0\x38\x9b\x71",
    ),
    "Photoshop layers": (b"Adobe Photoshop Document Data Block\0",),
}  # fmt: skip
"""Part → what is found in a file that contains it: namespaces and types of its formats."""

_MAX_PAGES = 16
_REDUCED_OR_MASK = 1 | 4
"""Bits of NewSubfileType: a smaller copy of another page, or its transparency."""

_SRGB_PRIMARIES, _SRGB_CURVES = (0, 1, 2, 5, 6), (0, 1, 2, 6, 13, 14, 15)
"""Numbers of ITU-T H.273 that are near enough to sRGB, or say nothing (0, 2)."""


def lost_parts(path: Path) -> list[str]:
    """Return one line for each property of a photograph that an edit does not keep.

    Raises:
        UserError: the picture cannot be opened.
    """
    with open_header(path) as image:
        return [f"{path}: {line}" for line in (*_of_pixels(image, path), *_of_file(image, path))]


def _of_pixels(image: Image.Image, path: Path) -> Iterator[str]:
    bits = _bits_per_channel(image, path)
    if image.mode in ("RGB", "RGBA", "LA") and bits > 8:
        yield f"has {bits} bits per channel; only 8 are kept"
    if image.mode in ("I", "F"):
        yield "has 32 bits per pixel; only 8 are kept"
    if image.mode in ("CMYK", "LAB"):
        yield f"is {'CMYK' if image.mode == 'CMYK' else 'Lab'}; it is converted to sRGB"
    codes = image.info.get("nclx_profile")
    if isinstance(codes, dict) and "icc_profile" not in image.info:
        primaries, curve = codes.get("color_primaries"), codes.get("transfer_characteristics")
        if primaries not in _SRGB_PRIMARIES or curve not in _SRGB_CURVES:
            yield (
                "has other colours than sRGB, and no ICC profile; they are taken as sRGB, so "
                "export it with a profile if they look wrong"
            )


def _of_file(image: Image.Image, path: Path) -> Iterator[str]:
    if image.format == "TIFF":
        if _has_pages(image):
            yield "has several pages; only the first is used"
    elif image.format in ("MPO", "HEIF"):
        if _has_pictures(image):
            yield "has several pictures; only the first is used"
    elif getattr(image, "is_animated", False):
        yield "is an animation; only its first frame is used"
    with path.open("rb") as file:
        content = file.read(_SCANNED_BYTES)
    xmp = image.info.get("xmp", b"")  # that of a PNG may be compressed
    content += xmp.encode() if isinstance(xmp, str) else xmp
    parts = [part for part, marks in _PARTS.items() if any(mark in content for mark in marks)]
    if parts:
        yield f"its {' and its '.join(parts)} cannot be kept and will be missing in the result"


def _has_pages(image: Any) -> bool:
    """Return whether a TIFF has another page that is not a smaller copy of the first."""
    width, height = image.size
    found = False
    for page in range(1, _MAX_PAGES):
        try:
            image.seek(page)
            kind, old_kind = image.tag_v2.get(254, 0), image.tag_v2.get(255, 1)
        except Exception:  # the end, or damage that does not concern the first page
            break
        other_width, other_height = image.size
        is_smaller = other_width < width and abs(other_width * height - other_height * width) <= (
            2 * max(width, height)
        )
        if not (kind & _REDUCED_OR_MASK or old_kind == 2 or is_smaller):
            found = True
            break
    return found


def _has_pictures(image: Any) -> bool:
    """Return whether an MPO or HEIC has several pictures, besides previews and gain maps."""
    if image.format == "HEIF":
        return bool(image.is_animated)
    try:
        types = [entry["Attribute"]["MPType"] for entry in image.mpinfo[0xB002][1:]]
    except (KeyError, TypeError, AttributeError):
        return False
    return any(kind.startswith("Multi-Frame") for kind in types)


def _bits_per_channel(image: Any, path: Path) -> int:
    """Return the bits per channel in the file, which Pillow silently reduces to 8."""
    if image.format == "PNG":
        with path.open("rb") as file:
            return file.read(25)[24]
    if image.format == "TIFF":
        bits = image.tag_v2.get(258, 8)
        return max(bits) if isinstance(bits, tuple) else int(bits)
    return int(image.info.get("bit_depth", 8))
