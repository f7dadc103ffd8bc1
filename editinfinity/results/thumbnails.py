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
    """A picture on a sheet, its caption, and whether it was chosen as the result of a sweep."""

    path: Path
    caption: str
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
    except UserError as error:
        log.warning("%s", error)
        picture = Image.new("RGB", (SIDE, SIDE), "lightgrey")
    square.paste(picture, ((SIDE - picture.width) // 2, (SIDE - picture.height) // 2))
    sheet.paste(square, corner)


def draw_text(
    sheet: Image.Image, at: tuple[int, int], text: str, width: int, size: int, ink: str = "black"
) -> None:
    """Draw text at a position; shorten it with an ellipsis if it is wider than ``width`` pixels."""
    typeface = font(size)
    if typeface.getlength(text) > width:
        while text and typeface.getlength(text + "…") > width:
            text = text[:-1]
        text += "…"
    ImageDraw.Draw(sheet).text(at, text, fill=ink, font=typeface)


def is_stale(sheet: Path, sources: list[Path]) -> bool:
    """Whether a sheet must be drawn again: it is missing, or not newer than its source files."""
    times = [path.stat().st_mtime_ns for path in sources if path.exists()]
    return not (sheet.exists() and times and sheet.stat().st_mtime_ns > max(times))
