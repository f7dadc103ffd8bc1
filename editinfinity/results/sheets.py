"""Writes contact sheets: PNG files that show the results of a run side by side.

The sheets are written when a run ends, not by a Snakemake rule: a rule that depends on all cases
would run again for each of them. ``results/contact_sheet.png`` shows the photograph, result and
mask of every edit. ``results/CASE/edit/NAME/sweep.png`` shows the variants of a sweep
(:mod:`editinfinity.results.sweep_sheet`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from editinfinity.cases.case import MAP_ONLY, Cases
from editinfinity.config.load import Config
from editinfinity.files.images import write_png
from editinfinity.planning.targets import layout
from editinfinity.results.sweep_sheet import sweep_sheet
from editinfinity.results.thumbnails import SIDE, Cell, draw_text, is_stale, mask_cells, paste

MAX_ROWS = 40
"""Maximum number of edits on the contact sheet; a longer sheet cannot be read at a glance."""

_GAP, _LINE = 8, 22  # in pixels


def make_sheets(config: Config, cases: Cases) -> list[Path]:
    """Write the contact sheets that are missing or older than the pictures they show.

    Returns:
        The paths of the run's sheet and then of its sweep sheets, whether rewritten or not; empty
        if there are no results.
    """
    rows: list[list[Cell]] = []
    sheets: list[Path] = []
    for case in cases.by_name.values():
        where = layout(config, case.name)
        for edit in case.edits.values():
            result = Path(where.result(edit.name))
            if result.exists() and edit.infer_function != MAP_ONLY:
                shown = [Cell(case.image, case.name), Cell(result, edit.name)]
                rows.append([*shown, *mask_cells(edit, where)])
                if sweep := sweep_sheet(case, edit, where):
                    sheets.append(sweep)
    if not rows:
        return []
    sheet = Path(config.results, "contact_sheet.png")
    _write(sheet, rows[:MAX_ROWS])
    return [sheet, *sheets]


def _write(path: Path, rows: Sequence[Sequence[Cell]]) -> None:
    """Write a sheet, unless it is newer than all pictures on it."""
    if not is_stale(path, [cell.path for row in rows for cell in row]):
        return
    column_width, row_height = SIDE + _GAP, SIDE + _LINE + _GAP
    size = (max(map(len, rows)) * column_width + _GAP, len(rows) * row_height + _GAP)
    sheet = Image.new("RGB", size, "white")
    for row, cells in enumerate(rows):
        for column, cell in enumerate(cells):
            left, top = column * column_width + _GAP, row * row_height + _GAP
            paste(sheet, cell.path, (left, top))
            draw_text(sheet, (left, top + SIDE + 2), cell.caption, SIDE, 14)
    write_png(path, sheet)
