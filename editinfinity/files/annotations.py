"""Masks from annotation files: LabelMe shapes and COCO annotations.

The areas may have been drawn on a photograph of another size; they are rescaled. A COCO file may
cover many images; the one to use is found by the file name of the edited photograph.
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
"""Maximum size of an annotation file, in bytes. LabelMe files also embed the photograph."""

_FARTHEST = 100
"""Maximum absolute coordinate of a corner, as a multiple of the picture's longer side.

Drawing shapes with corners farther out takes minutes, or overflows.
"""

_NAMED = 5
"""Maximum number of images listed in an error message."""

Point = tuple[float, float]

_AREAS = frozenset({"polygon", "rectangle", "circle", "oriented_rectangle", "mask"})
"""LabelMe shape types that have an area. (The others are lines and points.)"""

_Shape = Mapping[str, Any]
"""An area in LabelMe's format.

``shape_type`` is one of ``_AREAS``. ``points`` holds the corners; for a circle, the centre and a
point on the circle; for a mask, its first and its last pixel. ``mask`` is a base64-encoded PNG
that is nonzero inside the area.
"""


def mask_of_annotations(path: Path, size: Size, photograph: Path | None) -> NDArray[np.bool_]:
    """Return the areas of an annotation file as a mask.

    Args:
        path: LabelMe or COCO JSON file.
        size: (height, width) of the photograph.
        photograph: path of the photograph, whose file name selects one of several images in a
            COCO file.

    Returns:
        (H, W) mask, True inside any of the areas.

    Raises:
        UserError: the file cannot be read, contains a shape without an area or an invalid corner,
            was drawn on a picture with another aspect ratio, or covers several images of which
            not exactly one matches the photograph's name.
    """
    with _telling_faults(path):
        content = _content(path)
        if "shapes" in content:
            annotated_size = _size(content.get("imageHeight"), content.get("imageWidth"))
            shapes = list(content["shapes"])
        elif "annotations" in content:
            content = _of_one_image(content, path, photograph)
            image: Mapping[str, Any] = next(iter(content.get("images") or []), {})
            annotated_size = _size(image.get("height"), image.get("width"))
            shapes = list(_of_coco(content, path))
        else:
            raise UserError(f"{path}: is neither of LabelMe (shapes) nor of COCO (annotations)")
        if not shapes:
            raise UserError(f"{path}: holds no polygon, rectangle or circle; draw one")
        return _rasterised(shapes, annotated_size or size, size, path)


def annotations_of_one(path: Path, photograph: Path) -> str | None:
    """Return, as JSON, only the part of a COCO file that belongs to one photograph.

    The result identifies the annotations whatever the photograph's file is called.

    Returns:
        The JSON text, or None if the file does not cover several images.

    Raises:
        UserError: as for ``mask_of_annotations``.
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


def _pixels_of(png: Any, corners: list[Point], annotated_size: Size, path: Path) -> Image.Image:
    """Decode the pixels of a ``mask`` shape (made by LabelMe's AI tools), as mode ``1``."""
    (x1, y1), (x2, y2) = corners
    try:
        data = base64.b64decode(png, validate=True)
        with warnings.catch_warnings(action="ignore"):  # Pillow's warning about large pictures
            picture = Image.open(io.BytesIO(data), formats=["PNG"])
        with picture:
            width, height = picture.size
            # Check the size before decoding, so that a huge mask is never decoded.
            fits = abs(x2 - x1 + 1 - width) <= 1 and abs(y2 - y1 + 1 - height) <= 1
            if not fits or height > annotated_size[0] or width > annotated_size[1]:
                raise UserError(
                    f"{path}: a mask in it, of {width}×{height} pixels, does not fill its corners; "
                    "export it again"
                )
            whole = picture.mode in ("1", "L", "P", "I", "I;16")
            return Image.fromarray(np.asarray(picture if whole else picture.convert("L")) > 0)
    except UserError:
        raise
    except Exception:  # decoders raise almost any exception for damaged pictures
        raise UserError(f"{path}: a mask in it is no PNG in base64; export it again") from None


def _of_one_image(
    content: Mapping[str, Any], path: Path, photograph: Path | None
) -> dict[str, Any]:
    """Return a COCO file's content reduced to one image and its annotations."""
    images, annotations = content.get("images") or [], content["annotations"]
    if len(images) < 2 and not any("id" in image for image in images):
        if any(found.get("image_id") != annotations[0].get("image_id") for found in annotations):
            raise UserError(f"{path}: has annotations of several images; export one image's")
        return dict(content)
    image = images[0] if len(images) == 1 else _named_like(photograph, images, path)
    own = image["id"]
    # If there is only one image, its annotations may omit "image_id".
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
    """Return the only image with the photograph's file name, ignoring the extension if needed."""
    # PureWindowsPath splits at both "/" and "\".
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
    """Yield the areas of COCO annotations, converted to LabelMe's format."""
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
    """Return a name from a file, shortened and without unprintable characters, for messages."""
    return "".join(c if c.isprintable() else "?" for c in str(name)[:100])


def _rasterised(
    shapes: list[_Shape], annotated_size: Size, size: Size, path: Path
) -> NDArray[np.bool_]:
    """Draw shapes into a mask of size ``size``; they were drawn at ``annotated_size``."""
    kinds = [shape.get("shape_type") or "polygon" for shape in shapes]
    if others := sorted({_shown(kind) for kind in kinds if kind not in _AREAS}):
        raise UserError(
            f"{path}: holds shapes without an area ({', '.join(others)}); delete them, or draw "
            "polygons, rectangles, circles or masks"
        )
    require_shape(path, annotated_size, size)
    scale = size[1] / annotated_size[1], size[0] / annotated_size[0]
    far = _FARTHEST * max(annotated_size)
    canvas = Image.new("1", (size[1], size[0]))
    for kind, shape in zip(kinds, shapes, strict=True):
        points = [(float(x), float(y)) for x, y in shape["points"]]
        if kind in ("polygon", "oriented_rectangle") and len(points) < 3:
            raise UserError(
                f"{path}: holds a polygon of {len(points)} corners; draw it, or delete it"
            )
        # Written as "not all(<=)" so that NaN is refused too.
        if not all(abs(number) <= far for point in points for number in point):
            raise UserError(f"{path}: a corner lies far outside the picture; export it again")
        if kind == "mask":
            pixels = _pixels_of(shape.get("mask"), points, annotated_size, path)
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
