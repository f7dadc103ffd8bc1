"""COCO's annotations: polygons, run-length masks and boxes.

Source: https://cocodataset.org/#format-data. Tools write many variations of it: coordinates of a
polygon in one flat list (VGG Image Annotator), ids as text, rotated boxes (CVAT), a box of zeros
for a label of the whole picture, and one picture under ``image`` (Segment Anything).
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from editinfinity.files.annotations.areas import (
    AnnotationError,
    Area,
    Pixels,
    Polygon,
    box,
    number,
    rotated,
)
from editinfinity.files.annotations.picture import AnnotatedPicture, printable
from editinfinity.files.annotations.runs import mask_of_coco
from editinfinity.files.geometry import Size


def pictures_of_coco(content: Any) -> list[AnnotatedPicture] | None:
    """Return the pictures of a COCO file; None if the content is not COCO's.

    Raises:
        AnnotationError: annotations of several pictures cannot be told apart.
    """
    if not isinstance(content, dict) or not isinstance(content.get("annotations"), list):
        return None
    annotations = content["annotations"]
    found = content.get("images") or [content.get("image")]
    images = [image for image in found if isinstance(image, dict)]
    if len(images) < 2 and not any("id" in image for image in images):
        if (
            len({_id(entry.get("image_id")) for entry in annotations if isinstance(entry, dict)})
            > 1
        ):
            raise AnnotationError("has annotations of several images; export only one")
        return [_picture(content, images[0] if images else {}, annotations)]
    only = _id(images[0].get("id")) if len(images) == 1 else None
    of_image = defaultdict(list)
    for entry in annotations:
        # If there is only one image, its annotations may omit "image_id".
        of_image[_id(entry.get("image_id", only)) if isinstance(entry, dict) else only].append(
            entry
        )
    ids = [_id(image.get("id")) for image in images]
    shared = {id_ for id_, count in Counter(ids).items() if count > 1}
    return [
        _picture(content, image, of_image[id_] if id_ is not None else [], id_ in shared)
        for id_, image in zip(ids, images, strict=True)
    ]


def _picture(
    content: Mapping[str, Any], image: Mapping[str, Any], entries: list[Any], shared: bool = False
) -> AnnotatedPicture:
    name = image.get("file_name") or image.get("id")
    problem = ""
    if shared:
        problem = f"has several images with the id of {printable(name)}; export it again"
    return AnnotatedPicture(
        names=(name,),
        height=image.get("height"),
        width=image.get("width"),
        entries=entries,
        areas=_areas,
        part=lambda: (
            ".json",
            json.dumps({**content, "images": [image], "annotations": entries}),
        ),
        problem=problem,
    )


def _id(value: Any) -> str | None:
    """Return an id as text: some tools write the same id as a number and as text."""
    if value is None:
        return None
    is_whole = isinstance(value, float) and value.is_integer()
    return str(int(value) if is_whole else value).strip()


def _areas(annotation: Mapping[str, Any], picture: Size) -> Iterator[Area]:
    """Yield the areas of an annotation: those of its segmentation, or else its box."""
    segments = annotation.get("segmentation") or []
    if isinstance(segments, dict) or (segments and not isinstance(segments[0], (list, dict))):
        segments = [segments]
    segments = [segment for segment in segments if segment]
    for segment in segments:
        if isinstance(segment, dict):
            mask = mask_of_coco(segment, picture)
            yield Pixels(mask, (0, 0), (mask.shape[0], mask.shape[1]))
            continue
        values = [number(value) for value in segment]
        if len(values) % 2:
            raise AnnotationError("has a polygon whose last corner lacks y; export it again")
        yield Polygon(list(zip(values[::2], values[1::2], strict=True)))
    sides = annotation.get("bbox")
    if sides and not segments:
        if len(sides) != 4:
            raise AnnotationError(f"has a box of {len(sides)} numbers, not 4; draw a polygon")
        attributes = annotation.get("attributes")
        in_attributes = attributes.get("rotation") if isinstance(attributes, dict) else None
        yield rotated(box(*sides), annotation.get("rotation") or in_attributes)
