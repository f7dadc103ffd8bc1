"""Masks as people have them → which pixels are edited.

A picture whose black, white, transparent or opaque part is edited; areas of LabelMe or COCO; a
box ``x,y,w,h``. Pictures and areas may be of another size than the photograph if the shape is
the same.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from editinfinity.errors import UserError
from editinfinity.files.annotations import LONGEST, mask_of_annotations
from editinfinity.files.geometry import Geometry, Size, require_shape
from editinfinity.files.input_files import read_text
from editinfinity.files.opening import open_as
from editinfinity.files.pixels import is_transparent, to_grey
from editinfinity.settings.groups import MASK_REGIONS

Mask = NDArray[np.bool_]

MASK_THRESHOLD = 128
"""A mask's pixel is black up to this value (as in the original implementation)."""

_BOX = re.compile(r"\s*(-?\d+)\s*[, ]\s*(-?\d+)\s*[, ]\s*(\d+)\s*[, ]\s*(\d+)\s*")


def read_mask(
    path: Path,
    size: Size,
    edit_region: str = "black",
    grow: int = 0,
    photograph: Path | None = None,
) -> Mask:
    """A mask at the photograph's size, True where the image is edited.

    Args:
        path: a picture, a ``.json`` of LabelMe or COCO, or a ``.txt`` with ``x,y,w,h``.
        size: (height, width) of the photograph, upright.
        edit_region: one of ``MASK_REGIONS``, for pictures: ``black`` (values up to 128 are edited;
            upstream's) or ``white``, where transparent parts are background; or the transparent
            or opaque part itself.
        grow: pixels of the photograph by which the edited part is made larger on every side.
        photograph: the photograph's file, whose name tells which of a COCO file's images it is.

    Returns:
        (H, W) bool.

    Raises:
        UserError: the file cannot be read, its shape is not the photograph's, or it is of several
            images of which not exactly one can be told to be the photograph.
    """
    _require_region(edit_region)
    match path.suffix.strip().lower():
        case ".json":
            mask = mask_of_annotations(path, size, photograph)
        case ".txt":
            mask = mask_of_box(read_text(path, LONGEST, "put the mask there"), size, path)
        case _:
            mask = open_as(path, lambda image: mask_of_picture(image, size, edit_region, path))
    return grown(mask, grow)


def mask_warning(mask: Mask, path: Path | str, edit_region: str) -> str | None:
    """A line about a mask without contrast, which works but is probably not meant."""
    if mask.any() and not mask.all():
        return None
    what = "everything" if mask.any() else "nothing"
    return f"{path}: marks {what} as edited ({edit_region} is edited); see mask_edit_region"


def unseen_of(mask: Mask, geometry: Geometry) -> float:
    """Share of a mask (H, W of the photograph) outside what the model sees; 0 of an empty one."""
    whole = int(mask.sum())
    return 1 - int(geometry.crop_mask(mask).sum()) / whole if whole else 0.0


def require_seen(unseen: float, name: Path | str) -> None:
    """Refuse a mask that would change nothing.

    Raises:
        UserError: all of it lies outside what the model sees.
    """
    if unseen == 1:
        raise UserError(
            f"{name}: lies outside the part of the photograph that the model sees, and would "
            "change nothing; set crop: auto, or make a case of its own of this edit"
        )


def mask_of_picture(
    image: Image.Image, size: Size, edit_region: str = "black", name: Path | str = "mask"
) -> Mask:
    """As ``read_mask``, of an open picture; ``name`` is for messages.

    Raises:
        UserError: its shape is not the photograph's, or it lacks the alpha channel asked for.
    """
    _require_region(edit_region)
    edited_is_dark = edit_region in ("transparent", "black")
    if edit_region in ("transparent", "opaque"):
        if not is_transparent(image):
            raise UserError(
                f"{name}: has no transparent part; set mask_edit_region: black or white, or save "
                "it with its alpha channel"
            )
        grey = image.convert("RGBA").getchannel("A")
    else:
        grey = to_grey(image, background=255 if edited_is_dark else 0)
    if (grey.height, grey.width) != size:
        require_shape(name, (grey.height, grey.width), size)
        grey = grey.resize((size[1], size[0]), Image.Resampling.NEAREST)
    dark = np.asarray(grey) <= MASK_THRESHOLD
    return dark if edited_is_dark else ~dark


def _require_region(edit_region: str) -> None:
    if edit_region not in MASK_REGIONS:
        known = "', '".join(MASK_REGIONS)
        raise UserError(f"mask_edit_region: {edit_region!r} is not one of '{known}'")


def mask_of_box(text: str, size: Size, name: Path | str, grow: int = 0) -> Mask:
    """A box ``x,y,w,h`` as a mask; ``name`` is for messages.

    Raises:
        UserError: the text is no box, or the box lies outside the photograph.
    """
    found = _BOX.fullmatch(text)
    if found is None:
        raise UserError(f"{name}: is no box; write x,y,width,height in pixels, e.g. 120,80,300,200")
    x, y, width, height = map(int, found.groups())
    mask = np.zeros(size, dtype=bool)
    mask[max(0, y) : max(0, y + height), max(0, x) : max(0, x + width)] = True
    if not mask.any():
        raise UserError(
            f"{name}: the box {x},{y},{width},{height} lies outside the photograph, which is "
            f"{size[1]}×{size[0]}"
        )
    return grown(mask, grow)


def grown(mask: Mask, pixels: int) -> Mask:
    """The mask with a margin of so many pixels, a square's corners staying square."""
    if pixels <= 0 or not mask.any():
        return mask
    for _ in range(2):  # along the columns, then along the rows
        left, reach = pixels, 1
        # Doubling the reach takes logarithmically many passes.
        while left > 0:
            step = min(reach, left)
            wider = mask.copy()
            wider[step:] |= mask[:-step]
            wider[:-step] |= mask[step:]
            mask = wider
            left -= step
            reach *= 2
        mask = mask.T
    return mask
