"""Draws the sheet of one sweep: a grid of all variants whose axes are labelled with the values.

The layout follows the ablation figure of the paper: first the original and the mask, then a grid.
Its columns are the values of the setting with the most values, and its rows are the combinations
of the other settings. The metrics are below each picture, and the chosen variant has a frame.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

from editinfinity.cases.case import Case, Edit
from editinfinity.errors import UserError
from editinfinity.evaluation.record import MetricResults
from editinfinity.files.images import write_png
from editinfinity.files.prompts import read_prompt
from editinfinity.planning.targets import Layout
from editinfinity.planning.variants import NAMED_IF_SWEPT, Variant, format_value, variants_of
from editinfinity.results.selection import chosen_variant, metric_results_of
from editinfinity.results.thumbnails import SIDE, Cell, draw_text, font, is_stale, mask_cells, paste

COLUMNS = 8
"""Maximum number of pictures in a row; a longer axis continues below."""

_GAP, _LINE, _MAX_MARGIN = 10, 20, 200  # in pixels
_PALE, _CHOSEN = "#666666", "#1a7f37"

_TITLES = {
    "embedding": "text embedding",
    "lora": "LoRA",
    "base": "LoRA over embedding",
    "cfg": "guidance",
    "tau": "temperature",
    "seed": "seed",
    "smoothing": "kernel",
}
"""Setting → its title on the sheet; other settings keep their names."""

_CAPTIONS = {
    "background_psnr": "{:.1f} dB background",
    "clip_edited": "CLIP {:.1f}",
    "alignment": "alignment {:.2f}",
}
"""Metric → format of its value in the caption of a picture."""

_ITERATIONS = ("embedding", "lora", "base")  # settings whose values are training iterations


@dataclass(frozen=True)
class Axis:
    """A swept setting.

    Attributes:
        key: name of the setting.
        values: its values, in the order of the sweep.
    """

    key: str
    values: tuple[object, ...]

    def of(self, variant: Variant) -> object:
        """Return the value of a variant on this axis."""
        if self.key == "base" and not variant.lora:
            return self.values[0]  # a variant without LoRA has no base embedding
        return _value(self.key, variant)

    def label(self, value: object) -> str:
        """Return the label of a value."""
        title = _TITLES.get(self.key, self.key)
        if self.key in _ITERATIONS:
            return f"{title}: {value} iterations" if value else f"no {title}"
        return f"{title} {format_value(value)}"


def _value(key: str, variant: Variant) -> object:
    """Return the value of a setting in a variant; None if the variant does not state it."""
    return dict(variant.further).get(key, getattr(variant, key, None))


def axes_of(variants: Sequence[Variant]) -> list[Axis]:
    """Return the settings in which variants differ, the one with the most values first."""
    axes = []
    for key in dict.fromkeys([*_TITLES, *NAMED_IF_SWEPT]):
        relevant = [variant for variant in variants if variant.lora or key != "base"]
        values = tuple(dict.fromkeys(_value(key, variant) for variant in relevant))
        if len(values) > 1:
            axes.append(Axis(key, values))
    return sorted(axes, key=lambda axis: -len(axis.values))


@dataclass(frozen=True)
class Row:
    """A row of the grid: its label, its column headings, and its cells (None where empty)."""

    label: Sequence[str]
    headings: Sequence[str]
    cells: Sequence[Cell | None]


def sweep_sheet(case: Case, edit: Edit, where: Layout) -> Path | None:
    """Write the sheet of an edit's sweep, unless it is newer than everything it shows.

    Returns:
        The path of the sheet, whether rewritten or not; None if nothing is swept.
    """
    variants = variants_of(edit.settings)
    if len(variants) == 1:
        return None
    sheet = Path(where.folder, "edit", edit.name, "sweep.png")
    top_cells = [Cell(case.image, "original"), *mask_cells(edit, where)]
    shown = [*(cell.path for cell in top_cells), Path(where.result(edit.name))]
    for path_of in (where.picture, where.metrics):
        shown += [Path(path_of(edit.name, variant)) for variant in variants]
    if is_stale(sheet, shown):
        title = f"{case.name}, {edit.name}"
        with suppress(UserError):
            title += f": {read_prompt(edit.prompt, what='edit prompt')}"
        write_png(sheet, _draw(title, top_cells, list(_rows(edit, where, variants))))
    return sheet


def _rows(edit: Edit, where: Layout, variants: Sequence[Variant]) -> Iterator[Row]:
    """Yield the rows of the grid; columns beyond ``COLUMNS`` continue in further rows."""
    column_axis, *row_axes = axes_of(variants)
    chosen = chosen_variant(edit, where)
    by_row: dict[tuple[object, ...], dict[object, Variant]] = {}
    for variant in variants:
        row_key = tuple(axis.of(variant) for axis in row_axes)
        by_row.setdefault(row_key, {})[column_axis.of(variant)] = variant
    for first in range(0, len(column_axis.values), COLUMNS):
        columns = column_axis.values[first : first + COLUMNS]
        for index, (row_key, by_value) in enumerate(by_row.items()):
            yield Row(
                [axis.label(value) for axis, value in zip(row_axes, row_key, strict=True)],
                [column_axis.label(value) for value in columns] if index == 0 else (),
                [_cell(edit, where, by_value.get(value), chosen) for value in columns],
            )


def _cell(
    edit: Edit, where: Layout, variant: Variant | None, chosen: Variant | None
) -> Cell | None:
    """Return the cell of a variant with its metrics; None if the combination is not generated."""
    if variant is None:
        return None
    metrics = metric_results_of(edit, where, variant) or MetricResults()
    numbers = ((form, metrics.number(name)) for name, form in _CAPTIONS.items())
    caption = ", ".join(form.format(value) for form, value in numbers if value is not None)
    return Cell(Path(where.picture(edit.name, variant)), caption, variant == chosen)


def _draw(title: str, top_cells: Sequence[Cell], rows: Sequence[Row]) -> Image.Image:
    """Draw the sheet: a title, the original and the mask, then the grid with its labels."""
    labels = [font(13).getlength(text) for row in rows for text in row.label]
    margin = min(_MAX_MARGIN, round(max(labels, default=0)) + 2 * _GAP * bool(labels)) or _GAP
    column_width, row_height = SIDE + _GAP, SIDE + _LINE + _GAP
    columns = max(len(top_cells), *(len(row.cells) for row in rows))
    headings = sum(bool(row.headings) for row in rows)
    height = 2 * _LINE + row_height + len(rows) * row_height + headings * (_LINE + 2 * _GAP) + _GAP
    sheet = Image.new("RGB", (margin + columns * column_width, height), "white")
    draw_text(sheet, (margin, _GAP), title, sheet.width - margin - _GAP, 16)
    top = 2 * _LINE
    for column, cell in enumerate(top_cells):
        _paste_cell(sheet, cell, (margin + column * column_width, top))
    top += row_height
    for row in rows:
        top += _GAP * bool(row.headings)
        for column, heading in enumerate(row.headings):
            draw_text(sheet, (margin + column * column_width, top), heading, SIDE, 15)
        top += (_LINE + _GAP // 2) * bool(row.headings)
        for line, text in enumerate(row.label):
            at = (_GAP, top + SIDE // 2 - 10 + (2 * line - len(row.label)) * 10)
            draw_text(sheet, at, text, margin - 2 * _GAP + 1, 13)
        for column, shown in enumerate(row.cells):
            if shown is not None:
                _paste_cell(sheet, shown, (margin + column * column_width, top))
        top += row_height
    return sheet


def _paste_cell(sheet: Image.Image, cell: Cell, corner: tuple[int, int]) -> None:
    """Paste a picture and its caption, with a frame if it was chosen."""
    left, top = corner
    paste(sheet, cell.path, corner)
    caption, ink = cell.caption, _PALE
    if cell.chosen:
        caption, ink = f"chosen: {caption}".removesuffix(": "), _CHOSEN
        frame = (left - 4, top - 4, left + SIDE + 3, top + SIDE + 3)
        ImageDraw.Draw(sheet).rectangle(frame, outline=ink, width=4)
    draw_text(sheet, (left, top + SIDE + 5), caption, SIDE, 13, ink)
