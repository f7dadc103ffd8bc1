"""Open picture files safely: only known formats, limited size, upright, one-line errors."""

from __future__ import annotations

import importlib.util
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TypeVar

from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from editinfinity.errors import UserError, first_sentence
from editinfinity.files.camera_raw import refuse_camera_files
from editinfinity.files.geometry import Size
from editinfinity.files.input_files import require_file

log = logging.getLogger(__name__)

FORMATS = ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM"]
if importlib.util.find_spec("PIL.AvifImagePlugin"):  # from Pillow 11.3 on
    FORMATS.append("AVIF")
"""Accepted formats. Not all of Pillow's: some of its readers start other programs."""

MAX_PIXELS = 178_956_970
"""Maximum number of pixels; Pillow's own limit for refusing a file as a decompression bomb."""

MAX_BYTES = 2**30
"""Maximum file size in bytes: more than uncompressed 16-bit RGB with ``MAX_PIXELS`` needs."""

Result = TypeVar("Result")

_SIDEWAYS = (5, 6, 7, 8)
"""EXIF orientations that swap height and width."""


_OTHER_ENDINGS = frozenset(
    {
        *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".gpr", ".iiq"),
        *(".kdc", ".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2"),
        *(".rwl", ".sr2", ".srf", ".srw", ".x3f"),  # up to here of cameras
        *(".heic", ".heics", ".heif", ".heifs", ".hif", ".j2k", ".jp2", ".jxl", ".mpo", ".psb"),
        *(".psd", ".svg", ".tga", ".xcf"),
    }
)
"""Endings of further pictures. Opening such a file tells whether it can be read here, and why not:
a format depends on the content, and on the packages that are installed."""


@cache
def picture_endings() -> frozenset[str]:
    """Return the endings of picture files in lower case, with dot, also of unreadable formats."""
    readable = (ending for ending, name in Image.registered_extensions().items() if name in FORMATS)
    return frozenset(readable) | _OTHER_ENDINGS


def is_picture(path: Path) -> bool:
    """Return whether the content of a file is a picture, or a camera file that is refused."""
    if not os.path.isfile(path):  # noqa: PTH113  # Path.is_file raises if the name is too long
        return False
    try:
        refuse_camera_files(path)
    except UserError:
        return True
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=FORMATS):
            return True
    except Exception:  # decoders raise almost any exception for damaged files
        return False


def open_picture(path: Path) -> Image.Image:
    """Load a picture into memory, in its own mode and upright; of an animation, the first frame.

    Raises:
        UserError: the picture cannot be opened or decoded.
    """
    return open_as(path, lambda image: image)


def open_as(path: Path, convert: Callable[[Image.Image], Result]) -> Result:
    """Load a picture as ``open_picture`` does, and return the result of ``convert``.

    The conversion runs inside the error handling, because some damage only shows during it. The
    picture keeps the file's ``info`` and ``format``; its EXIF no longer has an orientation.

    Raises:
        UserError: the picture cannot be opened, decoded or converted.
    """
    with _open_checked(path) as image:
        _read_interop(image)
        image.load()
        upright = _upright(image, path)
        # Pillow drops the format whenever it makes a new image.
        upright.format = image.format
        return convert(upright)


def open_small(path: Path, side: int) -> Image.Image:
    """Load a picture, in its own mode and upright, to show it in a square of ``side`` pixels.

    The result may be larger than the square. A JPEG is decoded at reduced size, which is fast.

    Raises:
        UserError: the picture cannot be opened or decoded.
    """
    with _open_checked(path) as image:
        image.draft(None, (2 * side, 2 * side))
        image.load()
        return _upright(image, path)


def size_upright(path: Path) -> Size:
    """Return (height, width) of the upright picture; only the file's header is read.

    Raises:
        UserError: the picture cannot be opened.
    """
    with _open_checked(path) as image:
        try:
            sideways = image.getexif().get(ExifTags.Base.Orientation) in _SIDEWAYS
        except Exception:  # EXIF may hold arbitrary bytes
            sideways = False
        return (image.width, image.height) if sideways else (image.height, image.width)


@contextmanager
def _open_checked(path: Path) -> Iterator[Image.Image]:
    """Open a picture without decoding it; errors in the block become ``UserError`` for the file."""
    require_file(path, MAX_BYTES, "put the picture there")
    try:
        refuse_camera_files(path)
        # Photographs of high-resolution cameras exceed Pillow's warning limit but not its error
        # limit. Its other warnings (unusual EXIF, a truncated but readable file) do not help users.
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            yield image
    except UserError:
        raise
    except Image.DecompressionBombError:
        raise UserError(
            f"{path}: has more than {MAX_PIXELS // 10**6} million pixels; give a smaller picture"
        ) from None
    except UnidentifiedImageError:
        raise UserError(
            f"{path}: is not a picture that can be read; save it as JPEG, PNG or WebP"
        ) from None
    except PermissionError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); allow reading it") from None
    except MemoryError:
        raise UserError(f"{path}: does not fit in memory; give a smaller picture") from None
    except Exception as error:  # decoders raise almost any exception for damaged files
        raise UserError(
            f"{path}: is damaged or incomplete ({first_sentence(error)}); copy or export it again"
        ) from None


def _upright(image: Image.Image, path: Path) -> Image.Image:
    """Turn a picture upright by its EXIF orientation; unchanged if the EXIF is broken."""
    try:
        upright = ImageOps.exif_transpose(image)
    except Exception as error:  # EXIF may hold arbitrary bytes
        log.warning(
            "%s: its EXIF cannot be read (%s); the picture is not rotated",
            path,
            first_sentence(error),
        )
        return image.copy()
    if image.format == "TIFF" and "exif" not in upright.info:
        try:
            exif = image.getexif()  # stored among the TIFF's own tags, which a copy loses
            exif.pop(ExifTags.Base.Orientation, None)
            upright.info["exif"] = exif.tobytes()
        except Exception as error:
            log.warning(
                "%s: its EXIF cannot be read (%s) and is left out", path, first_sentence(error)
            )
    return upright


def _read_interop(image: Image.Image) -> None:
    """Read the Interop directory of a TIFF's EXIF; Pillow reads only the other directories.

    Decoding closes the file. If this directory had not been read by then, all EXIF would be lost.
    """
    if image.format == "TIFF":
        with suppress(Exception):  # errors are reported later, when the EXIF is used
            exif = image.getexif()
            if ExifTags.IFD.Exif in exif:
                exif.get_ifd(ExifTags.IFD.Interop)
