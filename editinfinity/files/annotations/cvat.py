"""CVAT's own export, "CVAT for images 1.1": boxes, polygons, ellipses and masks in XML.

Source: https://docs.cvat.ai/docs/dataset_management/formats/format-cvat/. Boxes and ellipses are
rotated about their centre. The counts of a mask's runs go row by row through its own box.

The file is read as a stream of elements. A document type declaration, which only malicious files
have here, is refused, so there are no entities to expand and no files to include.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.parsers import expat
from xml.sax.saxutils import quoteattr

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
from editinfinity.files.annotations.runs import checked_size, mask_of_counts
from editinfinity.files.geometry import Size

_Element = tuple[str, dict[str, str]]
"""Name and attributes of an XML element."""

_NO_REGION = frozenset({"tag", "attribute"})
"""Elements of an image that describe the whole of it."""


@dataclass
class _Image:
    attributes: dict[str, str]
    shapes: list[_Element] = field(default_factory=list)


class _Reader:
    """Collects the images of a file, and the elements directly inside them."""

    def __init__(self) -> None:
        self.images: list[_Image] = []
        self._open: list[str] = []

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if not self._open and name != "annotations":
            is_voc = name == "annotation"
            raise AnnotationError(
                f"is {'Pascal VOC' if is_voc else 'XML'}, not CVAT's; export CVAT for images, "
                "COCO or LabelMe"
            )
        if len(self._open) == 1 and name == "track":
            raise AnnotationError("is CVAT for video; export CVAT for images")
        if len(self._open) == 1 and name == "image":
            self.images.append(_Image(attributes))
        elif len(self._open) == 2 and self._open[1] == "image":
            self.images[-1].shapes.append((name, attributes))
        self._open.append(name)

    def end(self, name: str) -> None:
        self._open.pop()

    def doctype(self, *_: object) -> None:
        raise AnnotationError("has a document type declaration; export it from CVAT again")


def pictures_of_cvat(text: str) -> list[AnnotatedPicture]:
    """Return the pictures of an XML file.

    Raises:
        AnnotationError: the file is not an XML file of CVAT.
    """
    reader, parser = _Reader(), expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = reader.start, reader.end
    parser.StartDoctypeDeclHandler = reader.doctype
    try:
        parser.Parse(text, True)
    except expat.ExpatError:
        raise AnnotationError("is not XML; export it from CVAT again") from None
    return [_picture(image) for image in reader.images]


def _picture(image: _Image) -> AnnotatedPicture:
    return AnnotatedPicture(
        names=(image.attributes.get("name"),),
        height=image.attributes.get("height"),
        width=image.attributes.get("width"),
        entries=image.shapes,
        areas=_areas,
        part=lambda: (".xml", _write(image)),
    )


def _write(image: _Image) -> str:
    """Return a file with this image only."""
    shapes = "".join(f"    <{_tag(*shape)}/>\n" for shape in image.shapes)
    inner = f"  <{_tag('image', image.attributes)}>\n{shapes}  </image>\n"
    return f'<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n{inner}</annotations>\n'


def _tag(name: str, attributes: dict[str, str]) -> str:
    return " ".join([name, *(f"{key}={quoteattr(value)}" for key, value in attributes.items())])


def _areas(shape: _Element, picture: Size) -> Iterator[Area]:
    name, values = shape
    if name == "box":
        left, top, right, bottom = (number(values[key]) for key in ("xtl", "ytl", "xbr", "ybr"))
        yield rotated(box(left, top, right - left, bottom - top), values.get("rotation"))
    elif name == "polygon":
        corners = (corner.split(",") for corner in values["points"].split(";"))
        yield Polygon([(number(x), number(y)) for x, y in corners])
    elif name == "ellipse":
        upright = ellipse(*(values[key] for key in ("cx", "cy", "rx", "ry")))
        yield rotated(upright, values.get("rotation"))
    elif name == "mask":
        left, top, width, height = (int(values[key]) for key in ("left", "top", "width", "height"))
        size = checked_size(height, width)
        if min(left, top) < 0 or left + width > picture[1] or top + height > picture[0]:
            raise AnnotationError("has a mask that reaches over the edge; export it again")
        counts = [int(count) for count in values["rle"].split(",")]
        yield Pixels(mask_of_counts(counts, size), (left, top), picture)
    elif name not in _NO_REGION:
        raise AnnotationError(
            f"is a shape without an area ({printable(name)}); delete it, or draw a polygon, "
            "rectangle, ellipse or mask"
        )
