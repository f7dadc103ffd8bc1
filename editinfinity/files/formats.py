"""The picture formats that can be opened, and the packages that two of them need.

This module imports no picture library, because planning a run needs only the endings. A format is
detected from a file's content, whatever its ending.
"""

from __future__ import annotations

import importlib
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from editinfinity.errors import UserError

ENDINGS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "AVIF": (".avif",),
    "HEIF": (".heic", ".heif", ".hif"),
    "JXL": (".jxl",),
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
}
"""Pillow's name of each format that can be opened → the usual endings of its files."""

IMAGE_ENDINGS = tuple(ending for endings in ENDINGS.values() for ending in endings)
"""The endings of the files that can be opened, in lower case."""

_OTHER_ENDINGS = frozenset(
    {
        *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".gpr", ".iiq"),
        *(".kdc", ".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2"),
        *(".rwl", ".sr2", ".srf", ".srw", ".x3f"),  # up to here of cameras
        *(".heics", ".heifs", ".j2k", ".jp2", ".mpo", ".psb", ".psd", ".svg", ".tga", ".xcf"),
    }
)
"""Endings of further pictures. Opening such a file tells whether it can be read here, and why not:
a format depends on the content, and on the packages that are installed."""

PICTURE_ENDINGS = frozenset(IMAGE_ENDINGS) | _OTHER_ENDINGS
"""The endings of picture files in lower case, with dot, also of formats that cannot be opened."""


class _Plugin(NamedTuple):
    """A package that adds a format to Pillow: its name for users, its extra, and its module."""

    name: str
    extra: str
    module: str


_PLUGINS = {
    "HEIF": _Plugin("HEIC", "heif", "pillow_heif"),
    "JXL": _Plugin("JPEG XL", "jxl", "pillow_jxl"),
}

_HEIC_BRANDS = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
)
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_JXL_CODESTREAM, _JXL_CONTAINER = b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"


def load_plugin(path: Path) -> str | None:
    """Import the package that a file's format needs, if it needs one.

    Returns:
        Pillow's name of that format; None if Pillow itself opens the file, or if it is no picture.

    Raises:
        UserError: the package is not installed.
    """
    head = b""
    with suppress(OSError), path.open("rb") as file:  # opening the picture reports the error
        head = file.read(64)
    format_ = "HEIF" if _is_heic(head) else "JXL" if _is_jpeg_xl(head) else None
    if format_ is not None:
        require_plugin(path, format_)
    return format_


def require_plugin(path: Path, format_: str) -> None:
    """Import the package that a format needs, if it needs one.

    Args:
        path: a file of that format, for messages.
        format_: Pillow's name of the format.

    Raises:
        UserError: the package is not installed.
    """
    if (plugin := _PLUGINS.get(format_)) is None:
        return
    try:
        module = importlib.import_module(plugin.module)
    except ImportError:
        raise UserError(
            f"{path}: is a {plugin.name} picture, which needs another package; run: "
            f"pip install 'editinfinity[{plugin.extra}]', or save it as JPEG or PNG"
        ) from None
    if format_ == "HEIF":  # the other package registers its format when it is imported
        module.register_heif_opener()


def _is_heic(head: bytes) -> bool:
    """Return whether a file is HEIC by its ``ftyp`` brands; AVIF files have such a box too."""
    if head[4:8] != b"ftyp":
        return False
    size = int.from_bytes(head[:4])
    brands = {head[8:12], *(head[i : i + 4] for i in range(16, min(size, len(head)), 4))}
    return bool(brands & _HEIC_BRANDS) and not brands & _AVIF_BRANDS


def _is_jpeg_xl(head: bytes) -> bool:
    return head.startswith((_JXL_CODESTREAM, _JXL_CONTAINER))
