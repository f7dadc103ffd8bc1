"""Masks from the files of annotation tools.

The areas may have been drawn on a photograph of another size; they are rescaled. A file may cover
many pictures; the one to use is found by the file name of the edited photograph. Each format has
a module, which returns the pictures of a file:

- :mod:`.labelme`: LabelMe and X-AnyLabeling,
- :mod:`.coco`: COCO, which most tools can export,
- :mod:`.via`: VGG Image Annotator, JSON and CSV,
- :mod:`.label_studio`: Label Studio,
- :mod:`.cvat`: CVAT's XML.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from editinfinity.errors import UserError
from editinfinity.files.annotations.areas import (
    MAX_CORNERS,
    AnnotationError,
    Area,
    draw,
    has_extent,
    number,
    require_drawable,
)
from editinfinity.files.annotations.coco import pictures_of_coco
from editinfinity.files.annotations.cvat import pictures_of_cvat
from editinfinity.files.annotations.label_studio import pictures_of_label_studio
from editinfinity.files.annotations.labelme import pictures_of_labelme
from editinfinity.files.annotations.picture import AnnotatedPicture, choose_picture
from editinfinity.files.annotations.via import pictures_of_via, pictures_of_via_csv
from editinfinity.files.geometry import Size, require_same_aspect_ratio
from editinfinity.files.input_files import read_text

MAX_FILE_BYTES = 64 * 2**20
"""Maximum size of an annotation file, in bytes. LabelMe files also embed the photograph."""

_MAX_SIDE = 10**6
"""Maximum width and height of an annotated picture."""

# The order matters: Label Studio and COCO both have lists called "annotations".
_JSON_FORMATS = (
    pictures_of_labelme,
    pictures_of_label_studio,
    pictures_of_coco,
    pictures_of_via,
)


def mask_of_annotations(path: Path, size: Size, photograph: Path | None) -> NDArray[np.bool_]:
    """Return the areas of an annotation file as a mask.

    Args:
        path: file that ends in one of ``ANNOTATION_ENDINGS``.
        size: (height, width) of the photograph.
        photograph: path of the photograph, whose file name selects one of several pictures.

    Returns:
        (H, W) mask, True inside any of the areas.

    Raises:
        UserError: the file cannot be read, has an annotation that cannot be drawn or no area, was
            drawn on a picture with another aspect ratio, or covers several pictures of which not
            exactly one matches the photograph's name.
    """
    pictures = _pictures(path)
    picture = choose_picture(pictures, photograph, path)
    with _errors_reported_for(str(path)):
        annotated_size = _size_of(picture) or size
    require_same_aspect_ratio(path, annotated_size, size)
    areas = _areas_of(picture, annotated_size, path, several=len(pictures) > 1)
    if (first := next(areas, None)) is None:
        if picture.shown_name and not picture.entries:
            name = picture.shown_name
            raise UserError(f"{path}: has no annotation of its image {name}; annotate that one")
        raise UserError(f"{path}: contains no polygon, rectangle, circle or mask; draw one")
    return draw(chain([first], areas), annotated_size, size)


def annotations_of_photograph(path: Path, photograph: Path) -> tuple[str, str] | None:
    """Return only the part of an annotation file that belongs to one photograph.

    The result identifies the annotations whatever the photograph's file is called.

    Returns:
        (ending, text) of the part's file, or None if the file does not cover several pictures.

    Raises:
        UserError: as for ``mask_of_annotations``.
    """
    pictures = _pictures(path)
    return None if len(pictures) < 2 else choose_picture(pictures, photograph, path).part()


def _pictures(path: Path) -> list[AnnotatedPicture]:
    """Return the pictures that a file annotates, at least one."""
    text = read_text(path, MAX_FILE_BYTES, "put the mask there")
    with _errors_reported_for(str(path)):
        match path.suffix.strip().lower():
            case ".xml":
                pictures = pictures_of_cvat(text)
            case ".csv":
                pictures = pictures_of_via_csv(text)
            case _:
                pictures = _pictures_of_json(_parse_json(text))
        if not pictures:
            raise AnnotationError("annotates no picture; export it again")
    return pictures


def _pictures_of_json(content: Any) -> list[AnnotatedPicture]:
    for pictures_of in _JSON_FORMATS:
        if (pictures := pictures_of(content)) is not None:
            return pictures
    raise AnnotationError(
        "is neither LabelMe, COCO, VGG Image Annotator nor Label Studio; export it as one of these"
    )


def _parse_json(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_object)
    except AnnotationError:
        raise
    except (ValueError, RecursionError):
        raise AnnotationError("is not JSON; export it again") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object, in which no name may occur twice: programs differ in which counts."""
    content = dict(pairs)
    if len(content) != len(pairs):
        raise AnnotationError("has the same name twice in one object; export it again")
    return content


def _areas_of(picture: AnnotatedPicture, size: Size, path: Path, several: bool) -> Iterator[Area]:
    """Yield a picture's areas, checked; ``size`` is that of the annotated picture."""
    corners = 0
    of_picture = f" of {picture.shown_name}" if several else ""
    with _errors_reported_for(str(path)):
        entries = list(picture.entries)
        if len(entries) > MAX_CORNERS:
            raise AnnotationError("has too many annotations of a picture; export fewer")
    for position, entry in enumerate(entries, 1):
        with _errors_reported_for(f"{path}: annotation {position}{of_picture}"):
            for area in picture.areas(entry, size):
                corners += require_drawable(area, size)
                if corners > MAX_CORNERS:
                    raise AnnotationError(
                        "exceeds what can be drawn in minutes; export fewer or simpler areas"
                    )
                if has_extent(area):
                    yield area


def _size_of(picture: AnnotatedPicture) -> Size | None:
    """Return the annotated picture's (height, width); None if the file does not give it."""
    if not (picture.height and picture.width):
        return None
    size = int(number(picture.height)), int(number(picture.width))
    if not all(0 < side <= _MAX_SIDE for side in size):
        raise AnnotationError("gives a size that no picture has; export it again")
    return size


@contextmanager
def _errors_reported_for(subject: str) -> Iterator[None]:
    """Turn errors from unexpected content of a file inside the block into a ``UserError``."""
    try:
        yield
    except AnnotationError as error:
        raise UserError(f"{subject}: {error}") from None
    except (
        ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError
    ):  # fmt: skip
        raise UserError(f"{subject}: cannot be read as annotations; export it again") from None
