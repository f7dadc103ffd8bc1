"""Areas drawn in an annotation tool: shapes of LabelMe, annotations of COCO.

Either may be drawn on a photograph of another size. A COCO file may be of many photographs, of
which the one that is edited is found by its name.
"""

from __future__ import annotations

import base64
import io
import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from editinfinity.errors import UserError
from editinfinity.files.geometry import Size, require_shape
from editinfinity.files.input_files import read_text

LONGEST = 64 * 2**20
"""Bytes of a file; LabelMe's hold the photograph too."""

_FARTHEST = 100
"""Times the picture's longer side: drawing what lies farther out takes minutes, or overflows."""

_NAMED = 5
"""Images named in a message."""

Point = tuple[float, float]

_AREAS = frozenset({"polygon", "rectangle", "circle", "oriented_rectangle", "mask"})
"""LabelMe's types of shapes that have an area. (Others are lines, points.)"""

_Shape = Mapping[str, Any]
"""An area as LabelMe has it.

``shape_type`` is one of ``_AREAS``; ``points`` are corners, of a circle its centre and a point on
it, of a mask its first and its last pixel; ``mask`` is a PNG in base64, not 0 where the area is.
"""


def mask_of_annotations(path: Path, size: Size, photograph: Path | None) -> NDArray[np.bool_]:
    """The areas that a file marks, as a mask.

    Args:
        path: JSON of LabelMe or COCO.
        size: (height, width) of the photograph.
        photograph: by whose name one of several images of a COCO file is found.

    Returns:
        (H, W), True inside any of the areas.

    Raises:
        UserError: the file cannot be read, has a shape without area or a corner that is none, was
            drawn on a picture of another shape, or is of several images of which not exactly one
            is named like the photograph.
    """
    with _telling_faults(path):
        content = _content(path)
        if "shapes" in content:
            drawn_on = _size(content.get("imageHeight"), content.get("imageWidth"))
            shapes = list(content["shapes"])
        elif "annotations" in content:
            content = _of_one_image(content, path, photograph)
            image: Mapping[str, Any] = next(iter(content.get("images") or []), {})
            drawn_on = _size(image.get("height"), image.get("width"))
            shapes = list(_of_coco(content, path))
        else:
            raise UserError(f"{path}: is neither of LabelMe (shapes) nor of COCO (annotations)")
        if not shapes:
            raise UserError(f"{path}: holds no polygon, rectangle or circle; draw one")
        return _drawn(shapes, drawn_on or size, size, path)


def annotations_of_one(path: Path, photograph: Path) -> str | None:
    """JSON of a photograph's part of a COCO file, by which it is known under any name.

    Returns:
        None where the file is not of several images.

    Raises:
        UserError: as ``mask_of_annotations``.
    """
    with _telling_faults(path):
        content = _content(path)
        if "shapes" in content or len(content.get("images") or []) < 2:
            return None
        return json.dumps(_of_one_image(content, path, photograph), ensure_ascii=False)


@contextmanager
def _telling_faults(path: Path) -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, ZeroDivisionError):
        raise UserError(f"{path}: its polygons cannot be read; export them again") from None


def _content(path: Path) -> Any:
    try:
        return json.loads(read_text(path, LONGEST, "put the mask there"))
    except (ValueError, RecursionError):
        raise UserError(f"{path}: is no JSON; export the polygons again") from None


def _size(height: Any, width: Any) -> Size | None:
    if not (height and width):
        return None
    size = int(height), int(width)
    if min(size) < 1:
        raise ValueError(f"a picture of {size}")
    return size


def _pixels_of(png: Any, corners: list[Point], drawn_on: Size, path: Path) -> Image.Image:
    """Mode ``1``, of a shape of LabelMe's AI tools."""
    (x1, y1), (x2, y2) = corners
    try:
        data = base64.b64decode(png, validate=True)
        with warnings.catch_warnings(action="ignore"):  # of large pictures
            picture = Image.open(io.BytesIO(data), formats=["PNG"])
        with picture:
            width, height = picture.size
            # Not decoded before its size is known to be sane.
            fits = abs(x2 - x1 + 1 - width) <= 1 and abs(y2 - y1 + 1 - height) <= 1
            if not fits or height > drawn_on[0] or width > drawn_on[1]:
                raise UserError(
                    f"{path}: a mask in it, of {width}×{height} pixels, does not fill its corners; "
                    "export it again"
                )
            whole = picture.mode in ("1", "L", "P", "I", "I;16")
            return Image.fromarray(np.asarray(picture if whole else picture.convert("L")) > 0)
    except UserError:
        raise
    except Exception:  # decoders of damaged pictures raise nearly anything
        raise UserError(f"{path}: a mask in it is no PNG in base64; export it again") from None


def _of_one_image(
    content: Mapping[str, Any], path: Path, photograph: Path | None
) -> dict[str, Any]:
    """A COCO file's content with only one image and its annotations."""
    images, annotations = content.get("images") or [], content["annotations"]
    if len(images) < 2 and not any("id" in image for image in images):
        if any(found.get("image_id") != annotations[0].get("image_id") for found in annotations):
            raise UserError(f"{path}: has annotations of several images; export one image's")
        return dict(content)
    image = images[0] if len(images) == 1 else _named_like(photograph, images, path)
    own = image["id"]
    # Where there is one image, annotations need not say that they are its.
    kept = [
        found for found in annotations
        if found.get("image_id", own if len(images) == 1 else None) == own
    ]  # fmt: skip
    if annotations and not kept:
        name = _shown(image.get("file_name", own))
        raise UserError(f"{path}: none of its annotations is of its image {name}; annotate that")
    return {**content, "images": [image], "annotations": kept}


def _named_like(
    photograph: Path | None, images: list[Mapping[str, Any]], path: Path
) -> Mapping[str, Any]:
    """The one image that has the photograph's name, else the one that differs by its ending."""
    # Windows' paths are split at either slash.
    names = [PureWindowsPath(str(image.get("file_name", ""))) for image in images]
    matches: list[int] = []
    if photograph is not None:
        matches = [i for i, name in enumerate(names) if name.name == photograph.name]
        matches = matches or [i for i, name in enumerate(names) if name.stem == photograph.stem]
    if len(matches) == 1:
        return images[matches[0]]
    listed = [images[i].get("file_name", "without a name") for i in matches or range(len(images))]
    shown = ", ".join(map(_shown, listed[:_NAMED]))
    more = f" and {len(listed) - _NAMED} more" if len(listed) > _NAMED else ""
    fault = ""
    if photograph is not None:
        fault = f", {'several' if matches else 'none'} of them named like {photograph.name}"
    raise UserError(
        f"{path}: has annotations of several images ({shown}{more}){fault}; export one image's"
    )


def _of_coco(content: Mapping[str, Any], path: Path) -> Iterator[_Shape]:
    """The areas of COCO's annotations, as LabelMe would have them."""
    for annotation in content["annotations"]:
        segments = annotation.get("segmentation")
        if isinstance(segments, dict):
            raise UserError(f"{path}: holds run-length masks; export polygons, or a picture")
        for numbers in segments or []:
            yield {"points": list(zip(numbers[::2], numbers[1::2], strict=True))}
        if not segments and not annotation.get("bbox"):
            raise UserError(
                f"{path}: holds an annotation without polygon and box; delete it, or draw one"
            )
        if not segments:
            x, y, width, height = map(float, annotation["bbox"])
            yield {"shape_type": "rectangle", "points": [(x, y), (x + width, y + height)]}


def _shown(name: object) -> str:
    """A name out of a file, fit for one line."""
    return "".join(c if c.isprintable() else "?" for c in str(name)[:100])


def _drawn(shapes: list[_Shape], drawn_on: Size, size: Size, path: Path) -> NDArray[np.bool_]:
    """Shapes of a picture of the size ``drawn_on``, as a mask of another size."""
    kinds = [shape.get("shape_type") or "polygon" for shape in shapes]
    if others := sorted({_shown(kind) for kind in kinds if kind not in _AREAS}):
        raise UserError(
            f"{path}: holds shapes without an area ({', '.join(others)}); delete them, or draw "
            "polygons, rectangles, circles or masks"
        )
    require_shape(path, drawn_on, size)
    scale = size[1] / drawn_on[1], size[0] / drawn_on[0]
    far = _FARTHEST * max(drawn_on)
    canvas = Image.new("1", (size[1], size[0]))
    for kind, shape in zip(kinds, shapes, strict=True):
        points = [(float(x), float(y)) for x, y in shape["points"]]
        if kind in ("polygon", "oriented_rectangle") and len(points) < 3:
            raise UserError(
                f"{path}: holds a polygon of {len(points)} corners; draw it, or delete it"
            )
        # "Not a number" is not below it either.
        if not all(abs(number) <= far for point in points for number in point):
            raise UserError(f"{path}: a corner lies far outside the picture; export it again")
        if kind == "mask":
            pixels = _pixels_of(shape.get("mask"), points, drawn_on, path)
            _paste(canvas, pixels, points[0], scale)
        else:
            _draw(canvas, kind, [(x * scale[0], y * scale[1]) for x, y in points])
    return np.array(canvas)


def _paste(canvas: Image.Image, pixels: Image.Image, at: Point, scale: Point) -> None:
    x, y = round(at[0]), round(at[1])
    left, right = round(x * scale[0]), round((x + pixels.width) * scale[0])
    top, bottom = round(y * scale[1]), round((y + pixels.height) * scale[1])
    size = max(1, right - left), max(1, bottom - top)
    canvas.paste(1, (left, top), pixels.resize(size, Image.Resampling.NEAREST))


def _draw(canvas: Image.Image, kind: str, points: list[Point]) -> None:
    draw = ImageDraw.Draw(canvas)
    if kind == "rectangle":
        (x1, y1), (x2, y2) = points
        draw.rectangle((min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)), fill=1)
    elif kind == "circle":
        (x, y), (edge_x, edge_y) = points
        radius = ((edge_x - x) ** 2 + (edge_y - y) ** 2) ** 0.5
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=1)
    else:
        draw.polygon(points, fill=1)
