"""Contact sheets: what a run made, side by side, as PNG.

Made when a run ends, not by a rule: a rule over all cases would run again for each of them.
``results/contact_sheet.png`` has source, result and mask of every edit; a sweep has its variants in
``results/CASE/edit/NAME/sweep.png``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from editinfinity.errors import UserError
from editinfinity.files.images import read_image, write_png
from editinfinity.workflow.cases import MAP_ONLY, Case, Cases, Edit
from editinfinity.workflow.config import Config
from editinfinity.workflow.plan import Layout, layout
from editinfinity.workflow.variants import variants

log = logging.getLogger(__name__)

SIDE = 256
"""Side of a thumbnail in pixels."""

MOST_ROWS = 40
"""Edits on the contact sheet: more are no longer seen at a glance."""

SWEEP_COLUMNS = 6
_GAP, _LINE = 8, 22


@dataclass(frozen=True)
class Thumbnail:
    """A picture and what stands below it."""

    path: Path
    label: str


def make_sheets(config: Config, cases: Cases) -> list[Path]:
    """Write the contact sheets that are older than what they show.

    Returns:
        The run's sheet and then those of its sweeps, new or not; none where nothing was made.
    """
    rows: list[list[Thumbnail]] = []
    sheets: list[Path] = []
    for case in cases.by_name.values():
        where = layout(config, case.name)
        for edit in case.edits.values():
            if Path(where.chosen(edit.name)).exists() and edit.infer_function != MAP_ONLY:
                rows.append(list(_row(case, edit, where)))
                if swept := _swept(edit, where):
                    sheet = Path(where.folder, "edit", edit.name, "sweep.png")
                    lines = range(0, len(swept), SWEEP_COLUMNS)
                    _write(sheet, [swept[first : first + SWEEP_COLUMNS] for first in lines])
                    sheets.append(sheet)
    if not rows:
        return []
    sheet = Path(config.results, "contact_sheet.png")
    _write(sheet, rows[:MOST_ROWS])
    return [sheet, *sheets]


def _row(case: Case, edit: Edit, where: Layout) -> Iterator[Thumbnail]:
    """Source, edit, and the mask if there is one."""
    yield Thumbnail(case.image, case.name)
    yield Thumbnail(Path(where.chosen(edit.name)), edit.name)
    mask = Path(where.folder, "mask", edit.name, "mask.png")
    if edit.mask_source != "none" and mask.exists():
        yield Thumbnail(mask, f"mask ({edit.mask_source})")


def _swept(edit: Edit, where: Layout) -> list[Thumbnail]:
    """The variants of a sweep, labelled by what differs between them."""
    drawn = variants(edit.settings)
    if len(drawn) == 1:
        return []
    parts = [variant.name.split("-") for variant in drawn]
    shared = set(parts[0]).intersection(*parts)
    return [
        Thumbnail(
            Path(where.picture(edit.name, variant)),
            " ".join(part for part in words if part not in shared),
        )
        for variant, words in zip(drawn, parts, strict=True)
    ]


def _write(path: Path, rows: Sequence[Sequence[Thumbnail]]) -> None:
    """Draw a sheet, unless it is newer than all it shows."""
    shown = [thumbnail.path for row in rows for thumbnail in row]
    times = [picture.stat().st_mtime_ns for picture in shown if picture.exists()]
    if path.exists() and times and path.stat().st_mtime_ns > max(times):
        return
    cell = (SIDE + _GAP, SIDE + _LINE + _GAP)
    size = (max(map(len, rows)) * cell[0] + _GAP, len(rows) * cell[1] + _GAP)
    sheet = Image.new("RGB", size, "white")
    for row, thumbnails in enumerate(rows):
        for column, thumbnail in enumerate(thumbnails):
            _paste(sheet, thumbnail, (column * cell[0] + _GAP, row * cell[1] + _GAP))
    write_png(path, sheet)


def _paste(sheet: Image.Image, thumbnail: Thumbnail, corner: tuple[int, int]) -> None:
    """One picture with its label; a grey square where it cannot be read."""
    try:
        picture = ImageOps.contain(read_image(thumbnail.path), (SIDE, SIDE))
    except UserError as fault:
        log.warning("%s", fault)
        picture = Image.new("RGB", (SIDE, SIDE), "lightgrey")
    left, top = corner
    inset = ((SIDE - picture.width) // 2, (SIDE - picture.height) // 2)
    sheet.paste(picture, (left + inset[0], top + inset[1]))
    font = ImageFont.load_default(size=14)
    label = thumbnail.label
    while label and font.getlength(label) > SIDE:
        label = label[:-1]
    ImageDraw.Draw(sheet).text((left, top + SIDE + 2), label, fill="black", font=font)
