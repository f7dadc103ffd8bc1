"""Contact sheets: what a run made, side by side, as PNG.

Made when a run ends, not by a rule: a rule over all cases would run again for each of them.
``results/contact_sheet.png`` has source, result and mask of every edit; a sweep has its variants in
``results/CASE/edit/NAME/sweep.png`` (:mod:`editinfinity.results.sweep_sheet`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

from editinfinity.cases.case import MAP_ONLY, Case, Cases, Edit
from editinfinity.config.load import Config
from editinfinity.files.images import write_png
from editinfinity.planning.targets import Layout, layout
from editinfinity.results.sweep_sheet import sweep_sheet
from editinfinity.results.thumbnails import SIDE, fitted, font, is_older, thumbnail

MOST_ROWS = 40
"""Edits on the contact sheet: more are no longer seen at a glance."""

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
                if sweep := sweep_sheet(case, edit, where):
                    sheets.append(sweep)
    if not rows:
        return []
    sheet = Path(config.results, "contact_sheet.png")
    _write(sheet, rows[:MOST_ROWS])
    return [sheet, *sheets]


def _row(case: Case, edit: Edit, where: Layout) -> Iterator[Thumbnail]:
    """Source, edit, and the mask if there is one."""
    yield Thumbnail(case.image, case.name)
    yield Thumbnail(Path(where.chosen(edit.name)), edit.name)
    mask = Path(where.mask_pictures(edit.name)[0])
    if edit.mask_source != "none" and mask.exists():
        yield Thumbnail(mask, f"mask ({edit.mask_source})")


def _write(path: Path, rows: Sequence[Sequence[Thumbnail]]) -> None:
    """Draw a sheet, unless it is newer than all it shows."""
    shown = [each.path for row in rows for each in row]
    if not is_older(path, shown):
        return
    cell = (SIDE + _GAP, SIDE + _LINE + _GAP)
    size = (max(map(len, rows)) * cell[0] + _GAP, len(rows) * cell[1] + _GAP)
    sheet = Image.new("RGB", size, "white")
    for row, thumbnails in enumerate(rows):
        for column, shown_here in enumerate(thumbnails):
            _paste(sheet, shown_here, (column * cell[0] + _GAP, row * cell[1] + _GAP))
    write_png(path, sheet)


def _paste(sheet: Image.Image, shown: Thumbnail, corner: tuple[int, int]) -> None:
    """One picture with its label."""
    left, top = corner
    sheet.paste(thumbnail(shown.path), corner)
    label = fitted(shown.label, SIDE, font())
    ImageDraw.Draw(sheet).text((left, top + SIDE + 2), label, fill="black", font=font())
