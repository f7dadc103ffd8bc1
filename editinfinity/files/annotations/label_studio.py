"""Label Studio's JSON and JSON-MIN exports: tasks with polygons, rectangles, ellipses and brushes.

Source: https://labelstud.io/guide/export and https://labelstud.io/tags/. Coordinates are percent of
the picture's sides. A rectangle is rotated about its top left corner, an ellipse about its centre.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from editinfinity.files.annotations.areas import (
    AnnotationError,
    Area,
    Pixels,
    Polygon,
    box,
    ellipse,
    number,
    rotated,
)
from editinfinity.files.annotations.picture import AnnotatedPicture, printable
from editinfinity.files.annotations.runs import checked_size, mask_of_label_studio
from editinfinity.files.geometry import Size

_WITHOUT_AREA = ("keypoint", "vector", "bitmask", "video", "magicwand")
"""Beginnings of types of results on a picture that mark no area that can be read here."""


def pictures_of_label_studio(content: Any) -> list[AnnotatedPicture] | None:
    """Return the pictures of an export, one for each task; None if it is not Label Studio's."""
    tasks = content if isinstance(content, list) else [content]
    if not any(_is_task(task) for task in tasks):
        return None
    return [_picture(task) for task in tasks if isinstance(task, dict)]


def _is_task(task: Any) -> bool:
    if not isinstance(task, dict) or "images" in task:
        return False
    annotations = _annotations(task)
    if any(isinstance(entry, dict) and "result" in entry for entry in annotations):
        return True
    return isinstance(task.get("data"), dict) or bool(_results_of_min(task))


def _annotations(task: Mapping[str, Any]) -> list[Any]:
    """Return a task's annotations, each with results; one per annotator."""
    if "result" in task:  # an annotation as it is saved to a storage, with its task inside
        return [task]
    found = task.get("annotations", task.get("completions"))  # the older name
    return found if isinstance(found, list) else []


def _results_of_min(task: Mapping[str, Any]) -> list[Any]:
    """Return the results of a JSON-MIN task, which has lists of values under the tags' names."""
    return [
        {**entry, "value": entry}
        for values in task.values() if isinstance(values, list)
        for entry in values if isinstance(entry, dict) and "original_width" in entry
    ]  # fmt: skip


def _picture(task: dict[str, Any]) -> AnnotatedPicture:
    results = [
        result
        for annotation in _annotations(task)
        if isinstance(annotation, dict) and not annotation.get("was_cancelled")
        for result in annotation.get("result") or []
    ] or _results_of_min(task)
    sized = next((r for r in results if isinstance(r, dict) and "original_width" in r), {})
    inner = task.get("task")
    data = (inner if isinstance(inner, dict) else task).get("data", task)
    values = data.values() if isinstance(data, dict) else []
    return AnnotatedPicture(
        names=(task.get("file_upload"), *(value for value in values if isinstance(value, str))),
        height=sized.get("original_height"),
        width=sized.get("original_width"),
        entries=results,
        areas=_areas,
        part=lambda: (".json", json.dumps([task])),
    )


def _areas(result: Mapping[str, Any], picture: Size) -> Iterator[Area]:
    value, kind = result.get("value") or {}, str(result.get("type") or "")
    height, width = picture[0] / 100, picture[1] / 100
    if kind.startswith(_WITHOUT_AREA) or value.get("closed") is False:
        raise AnnotationError(
            f"is a region without an area ({printable(kind) or 'an open line'}); delete it, or "
            "draw a polygon, rectangle, ellipse or brush mask"
        )
    geometry = value.keys() & {"points", "rle", "radiusX", "height"}
    if geometry and result.get("image_rotation"):
        raise AnnotationError("was drawn on a rotated picture; rotate it back and export again")
    if "rle" in value:
        stated = result.get("original_height"), result.get("original_width")
        if None in stated:
            raise AnnotationError("has a brush mask without original_width; export it again")
        size = checked_size(*stated, picture)
        yield Pixels(mask_of_label_studio(value["rle"], size), (0, 0), size)
    elif "points" in value:
        yield Polygon([(number(x) * width, number(y) * height) for x, y in value["points"]])
    elif "radiusX" in value:
        x, y, radius_x, radius_y = (
            number(value.get(key)) for key in ("x", "y", "radiusX", "radiusY")
        )
        upright = ellipse(x * width, y * height, radius_x * width, radius_y * height)
        yield rotated(upright, value.get("rotation"))
    elif "height" in value:
        x, y, w, h = (number(value.get(key)) for key in ("x", "y", "width", "height"))
        upright_box = box(x * width, y * height, w * width, h * height)
        yield rotated(upright_box, value.get("rotation"), about=upright_box.first)
