"""Photographs and masks in, pictures out: the one preprocessing of the project.

Which part of a photograph the model sees is told in :mod:`editinfinity.files.geometry`.
"""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError

from editinfinity.errors import UserError
from editinfinity.files.atomic import atomic_path
from editinfinity.files.geometry import Geometry, Size
from editinfinity.files.given import require_file
from editinfinity.files.pixels import to_grey, to_rgb
from editinfinity.scales import ScaleSchedule, nearest_ratio

log = logging.getLogger(__name__)

FORMATS = ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM"]
if importlib.util.find_spec("PIL.AvifImagePlugin"):  # from Pillow 11.3 on
    FORMATS.append("AVIF")
"""What is opened. Not everything Pillow knows: some of its readers start other programs."""

MAX_PIXELS = 178_956_970
"""Larger pictures are refused as decompression bombs (Pillow's own limit for an error)."""

MAX_BYTES = 2**30
"""Longer files are refused: more than 16-bit RGB of ``MAX_PIXELS`` takes without compression."""

MIN_SIDE = 16
"""Shortest side of a photograph worth editing, in pixels."""

MASK_THRESHOLD = 128
"""A mask's pixel is black up to this value (design document "method")."""

ASPECT_TOLERANCE = 0.01
"""How far a mask's shape may be from the photograph's and still be scaled to it."""

SETTINGS_KEY = "editinfinity"
"""PNG text that carries the settings an image was made with."""


def size_of(image: Image.Image) -> Size:
    """(height, width) of a picture."""
    return image.height, image.width


def read_image(path: Path) -> Image.Image:
    """A photograph as 8-bit RGB, turned upright by its EXIF orientation.

    Transparency lies over white; of an animation this is the first frame; 16 bits become 8. The
    colour profile of an RGB photograph stays in ``info["icc_profile"]``.

    Raises:
        UserError: the file is missing, damaged, not a picture, too large or too small.
    """
    image = _open(path, to_rgb)
    if min(image.size) < MIN_SIDE:
        raise UserError(
            f"{path}: is only {image.width}×{image.height} pixels; "
            f"give a picture of at least {MIN_SIDE} pixels a side"
        )
    return image


def read_mask(path: Path, size: Size, edit_region: str = "black") -> NDArray[np.bool_]:
    """A mask at the photograph's size, True where the image is edited.

    A mask of another size but the same shape is scaled, nearest neighbour. Transparent parts
    count as background.

    Args:
        path: the mask's file.
        size: (height, width) of the photograph, upright.
        edit_region: ``black`` (values up to 128 are edited; upstream's) or ``white``.

    Returns:
        (H, W) bool.

    Raises:
        UserError: the file cannot be read, or its shape is not the photograph's.
    """
    if edit_region not in ("black", "white"):
        raise UserError(f"mask_edit_region: {edit_region!r} is not 'black' or 'white'")
    background = 255 if edit_region == "black" else 0
    mask = _open(path, lambda image: to_grey(image, background))
    if size_of(mask) != size:
        height, width = size
        shape = (mask.width / mask.height) / (width / height)
        if abs(shape - 1) > ASPECT_TOLERANCE:
            raise UserError(
                f"{path}: is {mask.width}×{mask.height} pixels but the photograph, upright, is "
                f"{width}×{height}; draw the mask over the photograph at the same shape"
            )
        mask = mask.resize((width, height), Image.Resampling.NEAREST)
    black = np.asarray(mask) <= MASK_THRESHOLD
    return black if edit_region == "black" else ~black


def doubt_about(mask: NDArray[np.bool_], path: Path, edit_region: str) -> str | None:
    """A line about a mask without contrast, which works but is probably not meant."""
    if mask.any() and not mask.all():
        return None
    what = "everything" if mask.any() else "nothing"
    return f"{path}: marks {what} as edited ({edit_region} is edited); see mask_edit_region"


def schedule_for(image: Image.Image, pixel_budget: str, patchify: bool = False) -> ScaleSchedule:
    """The schedule of the ratio nearest to a picture's."""
    return ScaleSchedule(nearest_ratio(image.height, image.width), pixel_budget, patchify)


def to_model(image: Image.Image, schedule: ScaleSchedule) -> tuple[NDArray[np.float32], Geometry]:
    """A photograph as the model takes it.

    Returns:
        (3, H, W) RGB in [−1, 1] at ``schedule.image_size``, and how it was cut.
    """
    geometry = Geometry.fit(size_of(image), schedule.image_size)
    height, width = geometry.model_size
    # Lanczos with Pillow's own antialiasing: crop and scaling in one step.
    scaled = image.resize((width, height), Image.Resampling.LANCZOS, box=geometry.box)
    pixels = np.asarray(scaled, dtype=np.float32).transpose(2, 0, 1)
    return np.ascontiguousarray(pixels / np.float32(127.5) - np.float32(1)), geometry


def from_model(pixels: NDArray[np.floating]) -> Image.Image:
    """The model's output as a picture: (x + 1)/2·255, truncated, as upstream does.

    Args:
        pixels: (3, H, W) in [−1, 1].
    """
    values = np.clip((pixels.astype(np.float32) + 1) / 2, 0, 1) * 255
    return Image.fromarray(values.astype(np.uint8).transpose(1, 2, 0))


def restore(edited: Image.Image, image: Image.Image) -> Image.Image:
    """The edit at the photograph's size; what the crop left out keeps the photograph's pixels.

    Args:
        edited: at the model's size, which decides the crop.
        image: the photograph, upright RGB.

    Returns:
        Of ``image``'s size, with its colour profile.
    """
    geometry = Geometry.fit(size_of(image), size_of(edited))
    result = image.copy()
    patch = edited.convert("RGB")
    if patch.size != (geometry.width, geometry.height):
        patch = patch.resize((geometry.width, geometry.height), Image.Resampling.LANCZOS)
    result.paste(patch, (geometry.left, geometry.top))
    return result


def write_png(path: Path, image: Image.Image, settings: str | None = None) -> None:
    """Write a PNG atomically; equal pictures and settings give equal bytes.

    Args:
        path: where to.
        image: what to write; its colour profile is kept.
        settings: text embedded under ``SETTINGS_KEY``, if any.
    """
    text = PngImagePlugin.PngInfo()
    if settings is not None:
        text.add_itxt(SETTINGS_KEY, settings)
    with atomic_path(path) as temporary:
        image.save(
            temporary, "PNG", pnginfo=text, icc_profile=image.info.get("icc_profile"), dpi=None
        )


def read_settings(path: Path) -> str | None:
    """The settings embedded in a picture by ``write_png``, if any.

    Raises:
        UserError: the picture cannot be read.
    """
    found = _open(path, lambda image: image).info.get(SETTINGS_KEY)
    return None if found is None else str(found)


def _open(path: Path, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """A picture, whole in memory, upright, then converted from its own mode.

    Raises:
        UserError: it cannot be had.
    """
    require_file(path, MAX_BYTES, "put the picture there")
    try:
        with warnings.catch_warnings():
            # Between Pillow's warning and its error lie the photographs of large cameras; what
            # else it warns of (odd EXIF, a short file that still shows) is not for the user.
            warnings.simplefilter("ignore")
            with Image.open(path, formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise Image.DecompressionBombError
                image.load()
                return convert(_upright(image, path))
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
        return ImageOps.exif_transpose(image)
    except Exception as error:  # any nonsense may stand in EXIF
        log.warning(
            "%s: its EXIF cannot be read (%s); the picture is taken as it lies", path, error
        )
        return image.copy()
