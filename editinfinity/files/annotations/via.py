"""Files of VGG Image Annotator (VIA) 1 and 2: project, annotations as JSON, annotations as CSV.

Source: https://www.robots.ox.ac.uk/~vgg/software/via/docs/ and the files that the program writes.
They do not state the size of the pictures.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from editinfinity.files.annotations.areas import (
    AnnotationError,
    Area,
    Polygon,
    box,
    ellipse,
    number,
    rotated,
)
from editinfinity.files.annotations.picture import AnnotatedPicture, printable
from editinfinity.files.geometry import Size

_FILE, _SHAPE = "filename", "region_shape_attributes"
"""Columns of a CSV file: the picture's name, and a shape as JSON."""


def pictures_of_via(content: Any) -> list[AnnotatedPicture] | None:
    """Return the pictures of a JSON file; None if the content is not VIA's."""
    if not isinstance(content, dict):
        return None
    if "_via_img_metadata" in content:
        content = content["_via_img_metadata"]
    elif not content or not all(
        isinstance(entry, dict) and "regions" in entry for entry in content.values()
    ):
        return None
    return [
        _picture(key, entry)
        for key, entry in content.items()
        if isinstance(entry, dict)
    ]  # fmt: skip


def pictures_of_via_csv(text: str) -> list[AnnotatedPicture]:
    """Return the pictures of a CSV file.

    Raises:
        AnnotationError: the file is not a CSV file of VIA.
    """
    rows = csv.DictReader(io.StringIO(text.lstrip("#"), newline=""))
    try:
        if not {_FILE, _SHAPE} <= set(rows.fieldnames or []):
            raise AnnotationError(
                f"has no columns {_FILE} and {_SHAPE} as VGG Image Annotator writes; export JSON"
            )
        regions: dict[str, list[Any]] = {}
        for row in rows:
            shapes = regions.setdefault(row[_FILE] or "", [])
            if (shape := row[_SHAPE] or "{}").strip() != "{}":
                shapes.append({"shape_attributes": shape})
    except csv.Error:
        raise AnnotationError("is not a CSV file; export JSON") from None
    return [_picture(name, {_FILE: name, "regions": found}) for name, found in regions.items()]


def _picture(key: str, entry: Mapping[str, Any]) -> AnnotatedPicture:
    regions = entry.get("regions") or []
    return AnnotatedPicture(
        names=(entry.get(_FILE) or key,),
        # Version 1 wrote {"0": …, "1": …}.
        entries=list(regions.values()) if isinstance(regions, dict) else regions,
        areas=_areas,
        part=lambda: (".json", json.dumps({key: entry})),
    )


def _areas(region: Mapping[str, Any], picture: Size) -> Iterator[Area]:
    shape = region["shape_attributes"]
    if isinstance(shape, str):  # from a CSV file
        shape = json.loads(shape)
    get = partial(map, shape.get)
    match shape.get("name"):
        case "rect":
            yield box(*get(("x", "y", "width", "height")))
        case "circle":
            yield ellipse(*get(("cx", "cy", "r", "r")))
        case "ellipse":
            upright = ellipse(*get(("cx", "cy", "rx", "ry")))
            yield rotated(upright, math.degrees(number(shape.get("theta") or 0)))
        case "polygon":
            x, y = ([number(value) for value in values] for values in get(
                ("all_points_x", "all_points_y")
            ))  # fmt: skip
            yield Polygon(list(zip(x, y, strict=True)))
        case name:
            raise AnnotationError(
                f"is a region without an area ({printable(name)}); delete it, or draw a polygon, "
                "rectangle, circle or ellipse"
            )
