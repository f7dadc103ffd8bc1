"""Small pictures and their labels, of which sheets are made."""

from __future__ import annotations

import logging
from pathlib import Path

from PIL import Image, ImageFont, ImageOps

from editinfinity.errors import UserError
from editinfinity.files.images import read_image

log = logging.getLogger(__name__)

SIDE = 256
"""Side of a thumbnail in pixels."""

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def font(size: int = 14) -> Font:
    """Pillow's own, which is everywhere."""
    return ImageFont.load_default(size=size)


def thumbnail(path: Path) -> Image.Image:
    """A picture in the middle of a white square; a grey square where it cannot be read."""
    square = Image.new("RGB", (SIDE, SIDE), "white")
    try:
        picture = ImageOps.contain(read_image(path), (SIDE, SIDE))
    except UserError as fault:
        log.warning("%s", fault)
        picture = Image.new("RGB", (SIDE, SIDE), "lightgrey")
    square.paste(picture, ((SIDE - picture.width) // 2, (SIDE - picture.height) // 2))
    return square


def fitted(text: str, width: int, style: Font) -> str:
    """As much of a text as fits into some pixels, an ellipsis for the rest."""
    if style.getlength(text) <= width:
        return text
    while text and style.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def is_older(sheet: Path, shown: list[Path]) -> bool:
    """Whether a sheet must be drawn: it is not there, or something that it shows is newer."""
    times = [path.stat().st_mtime_ns for path in shown if path.exists()]
    return not (sheet.exists() and times and sheet.stat().st_mtime_ns > max(times))
