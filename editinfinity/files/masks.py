"""Read masks, which mark the pixels to edit, from the formats that users have.

A mask is a picture whose black, white, transparent or opaque part is edited, a file of an
annotation tool, or a box ``x,y,w,h``. Pictures and annotated areas may differ in size from the
photograph if they have the same aspect ratio.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from PIL import Image

from editinfinity.errors import UserError
from editinfinity.files.annotations import MAX_FILE_BYTES, mask_of_annotations
from editinfinity.files.geometry import Geometry, Size, require_same_aspect_ratio
from editinfinity.files.input_files import ANNOTATION_ENDINGS, read_text
from editinfinity.files.mask_pictures import Mask, MaskPicture
from editinfinity.files.opening import open_as
from editinfinity.files.pixels import is_transparent
from editinfinity.settings.groups import MASK_REGIONS

_BOX = re.compile(r"\s*(-?\d+)\s*[, ]\s*(-?\d+)\s*[, ]\s*(\d+)\s*[, ]\s*(\d+)\s*")


def read_mask(
    path: Path,
    size: Size,
    edit_region: str = "black",
    grow: int = 0,
    photograph: Path | None = None,
    notices: list[str] | None = None,
) -> Mask:
    """Read a mask at the photograph's size, True where the photograph is edited.

    Args:
        path: a picture, a file of an annotation tool (``.json``, ``.xml`` or ``.csv``), or a
            ``.txt`` file with ``x,y,w,h``.
        size: (height, width) of the upright photograph.
        edit_region: for pictures, the part that is edited, one of ``MASK_REGIONS``: ``black``
            (values up to 128, as upstream) or ``white``, where transparent pixels count as not
            edited; or ``transparent`` or ``opaque``.
        grow: number of photograph pixels by which the edited part is enlarged on every side.
        photograph: path of the photograph, whose file name selects one of several images in an
            annotation file.
        notices: list that receives lines if the mask was probably meant otherwise.

    Returns:
        (H, W) bool.

    Raises:
        UserError: the file cannot be read, its aspect ratio is not the photograph's, or it covers
            several images of which not exactly one matches the photograph's name.
    """
    _require_region(edit_region)
    ending = path.suffix.strip().lower()
    if ending in ANNOTATION_ENDINGS:
        mask = mask_of_annotations(path, size, photograph)
    elif ending == ".txt":
        mask = mask_of_box(read_text(path, MAX_FILE_BYTES, "put the mask there"), size, path)
    else:
        mask = open_as(path, lambda image: mask_of_picture(image, size, edit_region, path, notices))
        return grow_mask(mask, grow)
    if notices is not None and (notice := uniform_mask_notice(mask, path)):
        notices.append(notice)
    return grow_mask(mask, grow)


def uniform_mask_notice(mask: Mask, name: Path | str) -> str | None:
    """Return a line if a mask marks nothing or everything, which is probably a mistake."""
    if mask.any() and not mask.all():
        return None
    what = "everything" if mask.any() else "nothing"
    return f"{name}: marks {what} as edited; mark a part of the photograph"


def share_out_of_view(mask: Mask, geometry: Geometry) -> float:
    """Return the share of a mask (H, W of the photograph) that lies outside the model's view.

    For an empty mask, it is 0.
    """
    total = int(mask.sum())
    return 1 - int(geometry.crop_mask(mask).sum()) / total if total else 0.0


def require_in_view(out_of_view: float, name: Path | str) -> None:
    """Refuse a mask that would change nothing.

    Args:
        out_of_view: share of the mask outside the model's view, from ``share_out_of_view``.
        name: the mask's name, for messages.

    Raises:
        UserError: the whole mask lies outside the model's view.
    """
    if out_of_view == 1:
        raise UserError(
            f"{name}: lies outside the part of the photograph that the model sees, and would "
            "change nothing; set crop: auto, or make this edit a separate case"
        )


def mask_of_picture(
    image: Image.Image,
    size: Size,
    edit_region: str = "black",
    name: Path | str = "mask",
    notices: list[str] | None = None,
) -> Mask:
    """As ``read_mask``, for an open picture; ``name`` is used in messages.

    Raises:
        UserError: the picture's aspect ratio is not the photograph's, or ``edit_region`` needs
            an alpha channel and the picture has none.
    """
    _require_region(edit_region)
    if edit_region in ("transparent", "opaque") and not is_transparent(image):
        raise UserError(
            f"{name}: has no transparent part; set mask_edit_region: black or white, or save it "
            "with its alpha channel"
        )
    if (image.height, image.width) != size:
        require_same_aspect_ratio(name, (image.height, image.width), size)
    picture = MaskPicture.of(image)
    mask = picture.part(edit_region)
    if notices is not None:
        notices += picture.doubts(mask, edit_region, name)
    if mask.shape == size:
        return mask
    resized = Image.fromarray(mask).resize((size[1], size[0]), Image.Resampling.NEAREST)
    return np.array(resized, dtype=bool)


def _require_region(edit_region: str) -> None:
    if edit_region not in MASK_REGIONS:
        known = "', '".join(MASK_REGIONS)
        raise UserError(f"mask_edit_region: {edit_region!r} is not one of '{known}'")


def mask_of_box(text: str, size: Size, name: Path | str, grow: int = 0) -> Mask:
    """Convert a box ``x,y,w,h`` to a mask; ``name`` is used in messages.

    Raises:
        UserError: the text is not a box, or the box lies outside the photograph.
    """
    box = _BOX.fullmatch(text)
    if box is None:
        raise UserError(f"{name}: is not x,y,width,height in pixels; write e.g. 120,80,300,200")
    x, y, width, height = map(int, box.groups())
    mask = np.zeros(size, dtype=bool)
    mask[max(0, y) : max(0, y + height), max(0, x) : max(0, x + width)] = True
    if not mask.any():
        raise UserError(
            f"{name}: the box {x},{y},{width},{height} lies outside the photograph, which is "
            f"{size[1]}×{size[0]}"
        )
    return grow_mask(mask, grow)


def grow_mask(mask: Mask, pixels: int) -> Mask:
    """Return the mask enlarged by this many pixels on every side; square corners stay square."""
    if pixels <= 0 or not mask.any():
        return mask
    for _ in range(2):  # along the columns, then along the rows
        remaining, stride = pixels, 1
        # Doubling the stride each time needs only logarithmically many passes.
        while remaining > 0:
            step = min(stride, remaining)
            wider = mask.copy()
            wider[step:] |= mask[:-step]
            wider[:-step] |= mask[step:]
            mask = wider
            remaining -= step
            stride *= 2
        mask = mask.T
    return mask
