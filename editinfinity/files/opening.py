"""Open picture files safely: only known formats, limited size, upright, one-line errors."""

from __future__ import annotations

import importlib.util
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from PIL import ExifTags, Image, ImageOps, PngImagePlugin, UnidentifiedImageError

from editinfinity.errors import UserError, first_sentence
from editinfinity.files.camera_raw import refuse_camera_files
from editinfinity.files.formats import ENDINGS, load_plugin
from editinfinity.files.geometry import Size
from editinfinity.files.input_files import require_file
from editinfinity.files.jpeg_xl import size_of_jpeg_xl

log = logging.getLogger(__name__)

FORMATS = [format_ for format_ in ENDINGS if format_ not in ("HEIF", "JXL")]
if not importlib.util.find_spec("PIL.AvifImagePlugin"):  # before Pillow 11.3
    FORMATS.remove("AVIF")
"""Formats that Pillow itself opens. Not all of them: some of its readers start other programs."""

MAX_PIXELS = 178_956_970
"""Maximum number of pixels; Pillow's own limit for refusing a file as a decompression bomb."""

MAX_BYTES = 2**30
"""Maximum file size in bytes: more than uncompressed 16-bit RGB with ``MAX_PIXELS`` needs."""

MAX_TEXT_BYTES = 2**24
"""Maximum size of a PNG's colour profile or of one of its texts, in bytes, when decompressed.

Profiles of scanners and printers exceed Pillow's limit, 1 MiB.
"""
PngImagePlugin.MAX_TEXT_CHUNK = MAX_TEXT_BYTES

Result = TypeVar("Result")

_SIDEWAYS = (5, 6, 7, 8)
"""EXIF orientations that swap height and width."""


def is_picture(path: Path) -> bool:
    """Return whether the content of a file is a picture, or a camera file that is refused."""
    if not os.path.isfile(path):  # noqa: PTH113  # Path.is_file raises if the name is too long
        return False
    try:
        refuse_camera_files(path)
        if load_plugin(path) is not None:
            return True
    except UserError:  # of a camera, or of a format whose package is not installed
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
    with open_header(path) as image:
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
    with open_header(path) as image:
        image.draft(None, (2 * side, 2 * side))
        image.load()
        return _upright(image, path)


def size_upright(path: Path) -> Size:
    """Return (height, width) of the upright picture; only the file's header is read.

    Raises:
        UserError: the picture cannot be opened.
    """
    with open_header(path) as image:
        width, height = image.size
        if image.format == "TIFF":
            # As stored: some versions of Pillow have turned the size of a TIFF already, some not.
            tags = getattr(image, "tag_v2", {})
            width, height = tags.get(256, width), tags.get(257, height)
        return (width, height) if _orientation(image) in _SIDEWAYS else (height, width)


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation; 1 (upright) if there is none, or if the EXIF is broken."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # EXIF may hold arbitrary bytes
        return 1


@contextmanager
def open_header(path: Path) -> Iterator[Image.Image]:
    """Open a picture without decoding it.

    Raises:
        UserError: the picture cannot be opened, or the block raised any exception.
    """
    require_file(path, MAX_BYTES, "put the picture there")
    format_ = None
    try:
        refuse_camera_files(path)
        format_ = load_plugin(path)
        if format_ == "JXL":  # its decoder decodes when it opens
            _require_few_pixels(*size_of_jpeg_xl(path))
        formats = FORMATS if format_ is None else [format_]
        # Photographs of high-resolution cameras exceed Pillow's warning limit but not its error
        # limit. Its other warnings (unusual EXIF, a truncated but readable file) do not help users.
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=formats) as image:
            _require_few_pixels(*image.size)
            if format_ == "JXL" and not getattr(image, "jpeg", False):
                _forget_orientation(image)  # its decoder has turned it
            yield image
    except UserError:
        raise
    except Image.DecompressionBombError:
        raise UserError(
            f"{path}: has more than {MAX_PIXELS // 10**6} million pixels; give a smaller picture"
        ) from None
    except UnidentifiedImageError:
        if format_ is not None:
            raise UserError(
                f"{path}: is damaged or incomplete ({format_}); copy or export it again"
            ) from None
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


def _require_few_pixels(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise Image.DecompressionBombError


def _forget_orientation(image: Image.Image) -> None:
    """Remove the orientation from the EXIF of a picture that is upright."""
    with suppress(Exception):  # errors are reported later, when the EXIF is used
        exif = image.getexif()
        if exif.pop(ExifTags.Base.Orientation, None) is not None:
            image.info["exif"] = exif.tobytes()


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
