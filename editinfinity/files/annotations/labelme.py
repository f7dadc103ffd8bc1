"""LabelMe's files, which X-AnyLabeling writes too: the shapes of one picture."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from editinfinity.files.annotations.areas import (
    AnnotationError,
    Area,
    Box,
    Ellipse,
    Pixels,
    Point,
    Polygon,
    number,
    require_near,
)
from editinfinity.files.annotations.picture import AnnotatedPicture, printable
from editinfinity.files.annotations.runs import checked_size
from editinfinity.files.geometry import Size

_POLYGONS = frozenset({"polygon", "oriented_rectangle", "rotation", "quadrilateral"})
"""Shape types whose points are the corners of a polygon."""


def pictures_of_labelme(content: Any) -> list[AnnotatedPicture] | None:
    """Return the picture of a LabelMe file; None if the content is not LabelMe's."""
    if not isinstance(content, dict) or "shapes" not in content:
        return None
    picture = AnnotatedPicture(
        names=(),
        height=content.get("imageHeight"),
        width=content.get("imageWidth"),
        entries=content["shapes"],
        areas=_areas,
        part=lambda: (".json", ""),  # a file has only one picture
    )
    return [picture]


def _areas(shape: Mapping[str, Any], picture: Size) -> Iterator[Area]:
    shape_type = shape.get("shape_type") or "polygon"
    points = [(number(x), number(y)) for x, y in shape["points"]]
    if shape_type in _POLYGONS or (shape_type == "rectangle" and len(points) == 4):
        yield Polygon(points)
    elif shape_type == "rectangle":
        first, second = points
        yield Box(first, second)
    elif shape_type == "circle":
        (x, y), (edge_x, edge_y) = points
        radius = ((edge_x - x) ** 2 + (edge_y - y) ** 2) ** 0.5
        yield Ellipse((x, y), (radius, radius))
    elif shape_type == "mask":
        (x1, y1), (x2, y2) = points
        require_near(points, picture)
        pixels = _decode_mask(shape.get("mask"), (x1, y1), (x2, y2), picture)
        yield Pixels(pixels, (round(x1), round(y1)), picture)
    else:
        raise AnnotationError(
            f"is a shape without an area ({printable(shape_type)}); delete it, or draw a polygon, "
            "rectangle, circle or mask"
        )


def _decode_mask(png: Any, first: Point, last: Point, picture: Size) -> NDArray[np.bool_]:
    """Decode the pixels of a ``mask`` shape, made by LabelMe's AI tools: a PNG in base64.

    Args:
        png: the text from the file.
        first, last: (x, y) of the first and the last pixel.
        picture: (height, width) of the annotated picture.
    """
    try:
        data = base64.b64decode(png, validate=True)
        with warnings.catch_warnings(action="ignore"):  # Pillow's warning about large pictures
            image = Image.open(io.BytesIO(data), formats=["PNG"])
        with image:
            width, height = image.size
            # Check the size before decoding, so that a huge mask is never decoded.
            sides = abs(last[0] - first[0]) + 1, abs(last[1] - first[1]) + 1
            fits = abs(sides[0] - width) <= 1 and abs(sides[1] - height) <= 1
            if not fits or height > picture[0] or width > picture[1]:
                raise AnnotationError(
                    f"has a mask of {width}×{height} pixels that does not match its corners; "
                    "export it again"
                )
            checked_size(height, width)
            is_grey = image.mode in ("1", "L", "P", "I", "I;16")
            return np.asarray(image if is_grey else image.convert("L")) > 0
    except AnnotationError:
        raise
    except Exception:  # decoders raise almost any exception for damaged pictures
        raise AnnotationError("has a mask that is not a base64 PNG; export it again") from None
