"""Picture files opened safely: known formats, bounded size, upright, every fault one line."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from editinfinity.errors import UserError
from editinfinity.files.camera_raw import refuse_camera_files
from editinfinity.files.geometry import Size
from editinfinity.files.input_files import require_file

log = logging.getLogger(__name__)

FORMATS = ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM"]
if importlib.util.find_spec("PIL.AvifImagePlugin"):  # from Pillow 11.3 on
    FORMATS.append("AVIF")
"""What is opened. Not everything Pillow knows: some of its readers start other programs."""

MAX_PIXELS = 178_956_970
"""Larger pictures are refused as decompression bombs (Pillow's own limit for an error)."""

MAX_BYTES = 2**30
"""Longer files are refused: more than 16-bit RGB of ``MAX_PIXELS`` takes without compression."""

Result = TypeVar("Result")

_TURNED = (5, 6, 7, 8)
"""EXIF orientations that swap height and width."""


def open_picture(path: Path) -> Image.Image:
    """A picture in its own mode, whole in memory, upright; of an animation, the first frame.

    Raises:
        UserError: it cannot be had.
    """
    return open_as(path, lambda image: image)


def open_as(path: Path, convert: Callable[[Image.Image], Result]) -> Result:
    """What ``convert`` makes of a picture as of ``open_picture``: damage may show only then.

    ``info`` is the file's, with an EXIF orientation that says upright; ``format`` too.

    Raises:
        UserError: it cannot be had.
    """
    with _opened(path) as image:
        _read_interop(image)
        image.load()
        upright = _upright(image, path)
        # Lost by Pillow with any change.
        upright.format = image.format
        return convert(upright)


def open_small(path: Path, side: int) -> Image.Image:
    """A picture in its own mode, upright, for showing it in a square of ``side`` pixels.

    It may still be larger than that; a JPEG is decoded at a part of its size, which is quick.

    Raises:
        UserError: it cannot be had.
    """
    with _opened(path) as image:
        image.draft(None, (2 * side, 2 * side))
        image.load()
        return _upright(image, path)


def size_upright(path: Path) -> Size:
    """(height, width) of a picture, upright; only its head is read.

    Raises:
        UserError: it cannot be had.
    """
    with _opened(path) as image:
        try:
            turned = image.getexif().get(ExifTags.Base.Orientation) in _TURNED
        except Exception:  # any nonsense may stand in EXIF
            turned = False
        return (image.width, image.height) if turned else (image.height, image.width)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The picture, not yet decoded; what goes wrong in the block is told as its fault."""
    require_file(path, MAX_BYTES, "put the picture there")
    try:
        refuse_camera_files(path)
        # Between Pillow's warning and its error lie the photographs of large cameras; what else it
        # warns of (odd EXIF, a short file that still shows) is not for the user.
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
        raise UserError(f"{path}: cannot be read ({error.strerror}); allow it") from None
    except MemoryError:
        raise UserError(f"{path}: does not fit in memory; give a smaller picture") from None
    except Exception as error:  # decoders of damaged files raise nearly anything
        raise UserError(
            f"{path}: is damaged or incomplete ({error}); copy or export it again"
        ) from None


def _upright(image: Image.Image, path: Path) -> Image.Image:
    """The picture turned as its EXIF says; broken EXIF turns nothing."""
    try:
        upright = ImageOps.exif_transpose(image)
    except Exception as error:  # any nonsense may stand in EXIF
        log.warning(
            "%s: its EXIF cannot be read (%s); the picture is taken as it lies", path, error
        )
        return image.copy()
    if image.format == "TIFF" and "exif" not in upright.info:
        try:
            exif = image.getexif()  # among a TIFF's own tags, which a copy has not
            exif.pop(ExifTags.Base.Orientation, None)
            upright.info["exif"] = exif.tobytes()
        except Exception as error:
            log.warning("%s: its EXIF cannot be read (%s) and is left out", path, error)
    return upright


def _read_interop(image: Image.Image) -> None:
    """Have the innermost directory of a TIFF's EXIF read, as Pillow does only with the others.

    Decoding closes the file, and all of its EXIF would be lost for want of it.
    """
    if image.format == "TIFF":
        with suppress(Exception):  # told by who needs it
            exif = image.getexif()
            if ExifTags.IFD.Exif in exif:
                exif.get_ifd(ExifTags.IFD.Interop)
