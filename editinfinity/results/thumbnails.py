"""Thumbnails and labels for contact sheets."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from editinfinity.cases.case import Edit
from editinfinity.errors import UserError
from editinfinity.files.images import read_image
from editinfinity.planning.targets import Layout

log = logging.getLogger(__name__)

SIDE = 256
"""Side of a thumbnail in pixels."""


@dataclass(frozen=True)
class Cell:
    """A picture of a sheet, its caption, and whether it was chosen as the result of a sweep."""

    path: Path
    words: str
    chosen: bool = False


def mask_cells(edit: Edit, where: Layout) -> list[Cell]:
    """Return a cell with the mask of an edit; empty if there is no mask."""
    mask = Path(where.mask_pictures(edit.name)[0])
    if edit.mask_source == "none" or not mask.exists():
        return []
    return [Cell(mask, f"mask ({edit.mask_source})")]


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return the font built into Pillow, which is available on every system."""
    return ImageFont.load_default(size=size)


def paste(sheet: Image.Image, path: Path, corner: tuple[int, int]) -> None:
    """Paste a picture, centred on a white square; a grey square if it cannot be read."""
    square = Image.new("RGB", (SIDE, SIDE), "white")
    try:
        picture = ImageOps.contain(read_image(path), (SIDE, SIDE))
    except UserError as fault:
        log.warning("%s", fault)
        picture = Image.new("RGB", (SIDE, SIDE), "lightgrey")
    square.paste(picture, ((SIDE - picture.width) // 2, (SIDE - picture.height) // 2))
    sheet.paste(square, corner)


def write(
    sheet: Image.Image, at: tuple[int, int], text: str, width: int, size: int, ink: str = "black"
) -> None:
    """Write text, cut with an ellipsis if it is wider than ``width`` pixels."""
    style = font(size)
    if style.getlength(text) > width:
        while text and style.getlength(text + "…") > width:
            text = text[:-1]
        text += "…"
    ImageDraw.Draw(sheet).text(at, text, fill=ink, font=style)


def is_older(sheet: Path, shown: list[Path]) -> bool:
    """Whether a sheet must be drawn: it is missing, or not newer than the files it shows."""
    times = [path.stat().st_mtime_ns for path in shown if path.exists()]
    return not (sheet.exists() and times and sheet.stat().st_mtime_ns > max(times))
