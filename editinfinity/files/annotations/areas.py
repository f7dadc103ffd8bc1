"""The areas of an annotated picture, and how they are drawn into a mask.

Readers of the formats return areas in the coordinates of the picture that was annotated. x goes to
the right, y goes down, and angles are clockwise, as on the screen.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from editinfinity.files.geometry import Size

Point = tuple[float, float]
"""(x, y)."""

_MAX_COORDINATE = 100
"""Maximum absolute coordinate of a corner, as a multiple of the picture's longer side.

Drawing shapes with corners farther out takes minutes, or overflows.
"""

MAX_CORNERS = 200_000
"""Maximum number of corners of all areas of a picture. Drawing more takes minutes.

``require_drawable`` tells for how many corners an area counts.
"""

_CORNERS_OF_AREA = 20
"""Number of corners that take about as long to draw as the inside of one area."""

_PIXELS_OF_CORNER = 50_000
"""Number of pixels of a mask that take about as long to draw as one corner."""

_SIDES_OF_ELLIPSE = 180
"""Number of sides of the polygon that is drawn for a rotated ellipse."""


class AnnotationError(ValueError):
    """An annotation that cannot be used. The message lacks the file: "what is wrong; cure"."""


@dataclass(frozen=True)
class Polygon:
    """A polygon, closed from its last corner to its first one."""

    corners: Sequence[Point]


@dataclass(frozen=True)
class Box:
    """An upright rectangle between two opposite corners."""

    first: Point
    second: Point


@dataclass(frozen=True)
class Ellipse:
    """An ellipse whose axes are horizontal and vertical; ``radii`` are (horizontal, vertical)."""

    centre: Point
    radii: Point


@dataclass(frozen=True)
class Pixels:
    """A mask of pixels.

    Attributes:
        marked: (h, w) bool.
        top_left: (x, y) of its first pixel.
        picture: (height, width) of the whole picture in these pixels.
    """

    marked: NDArray[np.bool_]
    top_left: tuple[int, int]
    picture: Size


Area = Polygon | Box | Ellipse | Pixels


def number(value: Any) -> float:
    """Return a coordinate, which may be written as text.

    Raises:
        AnnotationError: it is not a finite number.
    """
    try:
        converted = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        converted = math.nan
    if not math.isfinite(converted):
        raise AnnotationError("has a coordinate or size that is not a number; export it again")
    return converted


def box(left: Any, top: Any, width: Any, height: Any) -> Box:
    """Return the box with this corner and size.

    Raises:
        AnnotationError: a value is not a number, or a side is negative.
    """
    x, y, w, h = map(number, (left, top, width, height))
    if w < 0 or h < 0:
        raise AnnotationError(f"has a box of {w:g}×{h:g}; draw it again")
    return Box((x, y), (x + w, y + h))


def ellipse(x: Any, y: Any, radius_x: Any, radius_y: Any) -> Ellipse:
    """Return the ellipse with this centre and these radii.

    Raises:
        AnnotationError: a value is not a number, or a radius is negative.
    """
    radii = number(radius_x), number(radius_y)
    if min(radii) < 0:
        raise AnnotationError("has a negative radius; draw it again")
    return Ellipse((number(x), number(y)), radii)


def rotated(area: Box | Ellipse, degrees: Any, about: Point | None = None) -> Area:
    """Return an area rotated clockwise about a point; by default, about its centre.

    Raises:
        AnnotationError: the angle is not a number.
    """
    angle = math.radians(number(degrees or 0) % 360)
    if not angle:
        return area
    if isinstance(area, Box):
        (left, top), (right, bottom) = area.first, area.second
        centre = (left + right) / 2, (top + bottom) / 2
        corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    else:
        centre = area.centre
        steps = [2 * math.pi * step / _SIDES_OF_ELLIPSE for step in range(_SIDES_OF_ELLIPSE)]
        corners = [
            (centre[0] + area.radii[0] * math.cos(step), centre[1] + area.radii[1] * math.sin(step))
            for step in steps
        ]
    (x0, y0), cos, sin = about or centre, math.cos(angle), math.sin(angle)
    return Polygon(
        [
            (x0 + (x - x0) * cos - (y - y0) * sin, y0 + (x - x0) * sin + (y - y0) * cos)
            for x, y in corners
        ]
    )


def has_extent(area: Area) -> bool:
    """Return whether an area is wider and higher than nothing.

    Annotation tools write boxes of zeros for labels of the whole picture, and after a click without
    a drag.
    """
    if isinstance(area, Pixels):
        return bool(area.marked.any())
    points = _corners(area)
    return all(min(values) < max(values) for values in zip(*points, strict=True))


def require_near(points: Iterable[Point], annotated_size: Size) -> None:
    """Check that points are in the annotated picture, or near it.

    Raises:
        AnnotationError: a point is far outside.
    """
    limit = _MAX_COORDINATE * max(annotated_size)
    # Written as "not all(<=)" so that NaN, from infinite coordinates, is refused too.
    if not all(abs(coordinate) <= limit for point in points for coordinate in point):
        raise AnnotationError("has a corner far outside the picture; export it again")


def require_drawable(area: Area, annotated_size: Size) -> int:
    """Check an area's corners; return how many corners take as long to draw as this area.

    Raises:
        AnnotationError: a polygon has less than three corners, or a corner is far outside the
            annotated picture.
    """
    if isinstance(area, Pixels):
        require_near([area.top_left], annotated_size)
        return _CORNERS_OF_AREA + area.marked.size // _PIXELS_OF_CORNER
    corners = _corners(area)
    if isinstance(area, Polygon) and len(corners) < 3:
        raise AnnotationError(
            f"has a polygon of only {len(corners)} corners; complete or delete it"
        )
    require_near(corners, annotated_size)
    return _CORNERS_OF_AREA + len(corners)


def draw(areas: Iterable[Area], annotated_size: Size, size: Size) -> NDArray[np.bool_]:
    """Draw areas of a picture of size ``annotated_size`` into a mask of size ``size``."""
    canvas = Image.new("1", (size[1], size[0]))
    pen = ImageDraw.Draw(canvas)
    scale_x, scale_y = size[1] / annotated_size[1], size[0] / annotated_size[0]
    for area in areas:
        if isinstance(area, Pixels):
            _paste(canvas, area)
            continue
        points = [(x * scale_x, y * scale_y) for x, y in _corners(area)]
        if isinstance(area, Polygon):
            pen.polygon(points, fill=1)
        else:
            (x1, y1), (x2, y2) = points
            frame = min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)
            (pen.rectangle if isinstance(area, Box) else pen.ellipse)(frame, fill=1)
    return np.array(canvas)


def _corners(area: Polygon | Box | Ellipse) -> Sequence[Point]:
    """Return a polygon's corners, or two opposite corners of the box around another area."""
    if isinstance(area, Polygon):
        return area.corners
    if isinstance(area, Box):
        return area.first, area.second
    (x, y), (radius_x, radius_y) = area.centre, area.radii
    return (x - radius_x, y - radius_y), (x + radius_x, y + radius_y)


def _paste(canvas: Image.Image, area: Pixels) -> None:
    """Paste a mask of pixels at its place, resized to the canvas."""
    (x, y), (height, width) = area.top_left, area.marked.shape
    scale_x, scale_y = canvas.width / area.picture[1], canvas.height / area.picture[0]
    left, right = round(x * scale_x), round((x + width) * scale_x)
    top, bottom = round(y * scale_y), round((y + height) * scale_y)
    size = max(1, right - left), max(1, bottom - top)
    pixels = Image.fromarray(area.marked)
    canvas.paste(1, (left, top), pixels.resize(size, Image.Resampling.NEAREST))
