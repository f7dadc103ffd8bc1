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
from editinfinity.files.geometry import Size, require_same_aspect_ratio
from editinfinity.files.input_files import read_text
from editinfinity.names import look_of

MAX_FILE_BYTES = 64 * 2**20
"""Maximum size of an annotation file, in bytes. LabelMe files also embed the photograph."""

_MAX_COORDINATE = 100
"""Maximum absolute coordinate of a corner, as a multiple of the picture's longer side.

Drawing shapes with corners farther out takes minutes, or overflows.
"""

_MAX_LISTED = 5
"""Maximum number of images listed in an error message."""

Point = tuple[float, float]

_AREA_TYPES = frozenset({"polygon", "rectangle", "circle", "oriented_rectangle", "mask"})
"""LabelMe shape types that have an area. (The others are lines and points.)"""

_Shape = Mapping[str, Any]
"""An area in LabelMe's format.

``shape_type`` is one of ``_AREA_TYPES``. ``points`` lists the corners; for a circle, the centre
and a point on the circle; for a mask, its first and its last pixel. ``mask`` is a base64-encoded
PNG that is nonzero inside the area.
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
    with _errors_reported_for(path):
        content = _read_json(path)
        if "shapes" in content:
            annotated_size = _checked_size(content.get("imageHeight"), content.get("imageWidth"))
            shapes = list(content["shapes"])
        elif "annotations" in content:
            content = _content_of_one_image(content, path, photograph)
            image: Mapping[str, Any] = next(iter(content.get("images") or []), {})
            annotated_size = _checked_size(image.get("height"), image.get("width"))
            shapes = list(_shapes_of_coco(content, path))
        else:
            raise UserError(f"{path}: is neither LabelMe nor COCO; export it as one of these")
        if not shapes:
            raise UserError(f"{path}: contains no polygon, rectangle or circle; draw one")
        return _rasterise(shapes, annotated_size or size, size, path)


def annotations_of_photograph(path: Path, photograph: Path) -> str | None:
    """Return, as JSON, only the part of a COCO file that belongs to one photograph.

    The result identifies the annotations whatever the photograph's file is called.

    Returns:
        The JSON text, or None if the file does not cover several images.

    Raises:
        UserError: as for ``mask_of_annotations``.
    """
    with _errors_reported_for(path):
        content = _read_json(path)
        if "shapes" in content or len(content.get("images") or []) < 2:
            return None
        return json.dumps(_content_of_one_image(content, path, photograph), ensure_ascii=False)


@contextmanager
def _errors_reported_for(path: Path) -> Iterator[None]:
    """Turn errors from unexpected JSON content inside the block into a ``UserError``."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, ZeroDivisionError):
        raise UserError(f"{path}: its polygons cannot be read; export them again") from None


def _read_json(path: Path) -> Any:
    try:
        return json.loads(read_text(path, MAX_FILE_BYTES, "put the mask there"))
    except (ValueError, RecursionError):
        raise UserError(f"{path}: is not JSON; export the polygons again") from None


def _checked_size(height: Any, width: Any) -> Size | None:
    """Return the annotated picture's (height, width); None if the file does not give it."""
    if not (height and width):
        return None
    size = int(height), int(width)
    if min(size) < 1:
        raise ValueError(f"a picture of {size}")
    return size


def _decode_mask(png: Any, corners: list[Point], annotated_size: Size, path: Path) -> Image.Image:
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
                    f"{path}: a mask of {width}×{height} pixels in it does not match its corners; "
                    "export it again"
                )
            is_grey = picture.mode in ("1", "L", "P", "I", "I;16")
            return Image.fromarray(np.asarray(picture if is_grey else picture.convert("L")) > 0)
    except UserError:
        raise
    except Exception:  # decoders raise almost any exception for damaged pictures
        raise UserError(f"{path}: a mask in it is not a base64 PNG; export it again") from None


def _content_of_one_image(
    content: Mapping[str, Any], path: Path, photograph: Path | None
) -> dict[str, Any]:
    """Return a COCO file's content reduced to one image and its annotations."""
    images, annotations = content.get("images") or [], content["annotations"]
    if len(images) < 2 and not any("id" in image for image in images):
        if any(entry.get("image_id") != annotations[0].get("image_id") for entry in annotations):
            raise UserError(f"{path}: has annotations of several images; export only one")
        return dict(content)
    image = images[0] if len(images) == 1 else _image_of_photograph(photograph, images, path)
    image_id = image["id"]
    # If there is only one image, its annotations may omit "image_id".
    selected = [
        entry for entry in annotations
        if entry.get("image_id", image_id if len(images) == 1 else None) == image_id
    ]  # fmt: skip
    if annotations and not selected:
        name = _printable(image.get("file_name", image_id))
        raise UserError(f"{path}: has no annotation of its image {name}; annotate that one")
    return {**content, "images": [image], "annotations": selected}


def _image_of_photograph(
    photograph: Path | None, images: list[Mapping[str, Any]], path: Path
) -> Mapping[str, Any]:
    """Return the only image with the photograph's file name, ignoring the extension if needed."""
    # PureWindowsPath splits at both "/" and "\".
    names = [PureWindowsPath(str(image.get("file_name", ""))) for image in images]
    matches: list[int] = []
    if photograph is not None:
        name, stem = look_of(photograph.name), look_of(photograph.stem)
        matches = [i for i, other in enumerate(names) if look_of(other.name) == name]
        matches = matches or [i for i, other in enumerate(names) if look_of(other.stem) == stem]
    if len(matches) == 1:
        return images[matches[0]]
    listed = [images[i].get("file_name", "without a name") for i in matches or range(len(images))]
    shown = ", ".join(map(_printable, listed[:_MAX_LISTED]))
    more = f" and {len(listed) - _MAX_LISTED} more" if len(listed) > _MAX_LISTED else ""
    mismatch = ""
    if photograph is not None:
        mismatch = f", {'several' if matches else 'none'} of them named like {photograph.name}"
    raise UserError(
        f"{path}: has annotations of several images ({shown}{more}){mismatch}; export only one"
    )


def _shapes_of_coco(content: Mapping[str, Any], path: Path) -> Iterator[_Shape]:
    """Yield the polygons, or else the boxes, of COCO annotations in LabelMe's format."""
    for annotation in content["annotations"]:
        segments = annotation.get("segmentation")
        if isinstance(segments, dict):
            raise UserError(f"{path}: contains run-length masks; export polygons or a picture")
        for coordinates in segments or []:
            yield {"points": list(zip(coordinates[::2], coordinates[1::2], strict=True))}
        if not segments and not annotation.get("bbox"):
            raise UserError(
                f"{path}: has an annotation without polygon or box; delete it or draw one"
            )
        if not segments:
            x, y, width, height = map(float, annotation["bbox"])
            yield {"shape_type": "rectangle", "points": [(x, y), (x + width, y + height)]}


def _printable(name: object) -> str:
    """Return a name from a file, shortened and without unprintable characters, for messages."""
    return "".join(c if c.isprintable() else "?" for c in str(name)[:100])


def _rasterise(
    shapes: list[_Shape], annotated_size: Size, size: Size, path: Path
) -> NDArray[np.bool_]:
    """Draw shapes into a mask of size ``size``; they were drawn at ``annotated_size``."""
    shape_types = [shape.get("shape_type") or "polygon" for shape in shapes]
    if unsupported := sorted({_printable(name) for name in shape_types if name not in _AREA_TYPES}):
        raise UserError(
            f"{path}: has shapes without an area ({', '.join(unsupported)}); delete them, or draw "
            "polygons, rectangles, circles or masks"
        )
    require_same_aspect_ratio(path, annotated_size, size)
    scale = size[1] / annotated_size[1], size[0] / annotated_size[0]
    limit = _MAX_COORDINATE * max(annotated_size)
    canvas = Image.new("1", (size[1], size[0]))
    for shape_type, shape in zip(shape_types, shapes, strict=True):
        points = [(float(x), float(y)) for x, y in shape["points"]]
        if shape_type in ("polygon", "oriented_rectangle") and len(points) < 3:
            raise UserError(
                f"{path}: has a polygon of only {len(points)} corners; complete or delete it"
            )
        # Written as "not all(<=)" so that NaN is refused too.
        if not all(abs(coordinate) <= limit for point in points for coordinate in point):
            raise UserError(f"{path}: a corner is far outside the picture; export it again")
        if shape_type == "mask":
            pixels = _decode_mask(shape.get("mask"), points, annotated_size, path)
            _paste_mask(canvas, pixels, points[0], scale)
        else:
            _draw_shape(canvas, shape_type, [(x * scale[0], y * scale[1]) for x, y in points])
    return np.array(canvas)


def _paste_mask(canvas: Image.Image, pixels: Image.Image, corner: Point, scale: Point) -> None:
    """Paste a mask with its top left at ``corner``; ``scale`` (x, y) resizes both to the canvas."""
    x, y = round(corner[0]), round(corner[1])
    left, right = round(x * scale[0]), round((x + pixels.width) * scale[0])
    top, bottom = round(y * scale[1]), round((y + pixels.height) * scale[1])
    size = max(1, right - left), max(1, bottom - top)
    canvas.paste(1, (left, top), pixels.resize(size, Image.Resampling.NEAREST))


def _draw_shape(canvas: Image.Image, shape_type: str, points: list[Point]) -> None:
    draw = ImageDraw.Draw(canvas)
    if shape_type == "rectangle":
        (x1, y1), (x2, y2) = points
        draw.rectangle((min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)), fill=1)
    elif shape_type == "circle":
        (x, y), (edge_x, edge_y) = points
        radius = ((edge_x - x) ** 2 + (edge_y - y) ** 2) ** 0.5
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=1)
    else:
        draw.polygon(points, fill=1)
