"""Writes the PIE-Bench tables: mean metrics by edit type and overall, with and without its masks.

The tables are written when a run ends. They cover everything measured so far, in this run or in
another slice of it. ``pie_bench.tsv`` is for programs; ``pie_bench.md`` is for people and also
lists the published numbers.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from editinfinity.cases.case import Edit
from editinfinity.cases.pie_bench import (
    FOUND,
    GIVEN,
    case_of_entry,
    fixed_settings,
    selected_entries,
)
from editinfinity.cases.pie_bench_layout import TYPES, Entry
from editinfinity.config.load import Config
from editinfinity.evaluation.names import METRICS
from editinfinity.evaluation.record import MetricResults
from editinfinity.files.atomic import write_text
from editinfinity.names import printable
from editinfinity.planning.model import drawing_identity, model_identity
from editinfinity.planning.targets import Layout, layout
from editinfinity.planning.variants import Variant, variants_of
from editinfinity.results.selection import metric_results_of

NOTES = Path(__file__).with_name("pie_bench_notes.md")
"""Notes on how to read the table, one per line."""

PUBLISHED = Path(__file__).with_name("pie_bench_published.tsv")
"""Published results on the benchmark, in its units; ``seconds`` is their reported time per
picture."""

PUBLISHED_FOUND = Path(__file__).with_name("pie_bench_published_found.tsv")
"""Published results of editors that get no mask (EditMod, arXiv 2608.09057), by other measures."""

ALL = "all"
OTHER_SETTINGS = "measured with other settings"
MASKS = {GIVEN: "given", FOUND: "not given"}

COLUMNS = tuple(name for name in METRICS if name != "alignment")
"""The metrics of the benchmark; ``alignment`` only applies to pictures of the bundled world."""


@dataclass(frozen=True)
class Group:
    """A row of the table.

    Attributes:
        mask: ``given`` or ``not given``.
        variant: the name of the variant.
        type: one of ``TYPES``, or ``ALL``.
        entries: number of chosen pictures of that type.
        results: the metrics of those pictures that have been measured.
        left_out: number of pictures left out because they were measured with other settings.
    """

    mask: str
    variant: str
    type: str
    entries: int
    results: Sequence[MetricResults]
    left_out: int

    def numbers(self, name: str) -> list[float]:
        """Return the values of a metric; a value is nan if the region it measures is empty."""
        return [result.values[name] for result in self.results if name in result.values]

    def cell(self, name: str) -> str:
        """Return a mean in the benchmark's units, ``nan``, or the reason why there is no value."""
        values = self.numbers(name)
        if finite := [value for value in values if not math.isnan(value)]:
            mean = math.fsum(finite) / len(finite)
            return f"{mean * METRICS[name].published_factor:.2f}"
        if values:
            return "nan"
        reasons = [result.missing[name] for result in self.results if name in result.missing]
        return reasons[0].partition(";")[0] if reasons else "not measured"


def write_tables(config: Config) -> list[Path]:
    """Write both tables.

    Returns:
        Their paths; empty if nothing has been measured yet.

    Raises:
        UserError: the benchmark can no longer be read, or a table cannot be written.
    """
    groups = list(_groups(config, selected_entries(config).entries))
    if not any(group.results for group in groups):
        return []
    tables = {
        Path(config.results, "pie_bench.md"): _markdown(groups, config),
        Path(config.results, "pie_bench.tsv"): _tsv(groups),
    }
    for path, text in tables.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            write_text(path, text)
    return list(tables)


def _groups(config: Config, entries: Sequence[Entry]) -> Iterable[Group]:
    cases = [(entry, case_of_entry(entry, config)) for entry in entries]
    by_bias = {case.settings["attention_bias"]: case.settings for _, case in cases}
    models = {bias: model_identity(settings) for bias, settings in by_bias.items()}
    for edit, mask in MASKS.items():
        for variant in variants_of({**config.settings, **fixed_settings(config)}):
            measured = [
                (entry, _results_of(case.edits[edit], layout(config, case.name), variant, models))
                for entry, case in cases
            ]
            for index, type_name in [(None, ALL), *enumerate(TYPES)]:
                members = [result for entry, result in measured if index in (None, entry.type)]
                if members:
                    results = [result for result in members if isinstance(result, MetricResults)]
                    left_out = members.count(OTHER_SETTINGS)
                    yield Group(mask, variant.name, type_name, len(members), results, left_out)


def _results_of(
    edit: Edit, where: Layout, variant: Variant, models: Mapping[bool, str]
) -> MetricResults | str | None:
    """Return the metrics of an edit; None if there are none; ``OTHER_SETTINGS`` if those differ.

    Args:
        edit: the edit.
        where: paths of its case.
        variant: the variant.
        models: ``attention_bias`` → identity of the model.
    """
    results = metric_results_of(edit, where, variant)
    model = models[edit.settings["attention_bias"]]
    if results and results.drawn_with != drawing_identity(edit.settings, variant, model):
        return OTHER_SETTINGS
    return results


def _tsv(groups: Sequence[Group]) -> str:
    counts = [f"{name}_pictures" for name in COLUMNS]
    names = ("mask", "variant", "type", "entries", "measured", "with_background", *COLUMNS, *counts)
    rows: list[Sequence[object]] = [names]
    for group in groups:
        with_background = sum(each.number("background_psnr") is not None for each in group.results)
        numbers = (len(group.numbers(name)) for name in COLUMNS)
        first = (group.mask, group.variant, group.type, group.entries, len(group.results))
        rows.append([*first, with_background, *map(group.cell, COLUMNS), *numbers])
    return "".join("\t".join(map(str, row)) + "\n" for row in rows)


def _markdown(groups: Sequence[Group], config: Config) -> str:
    """Return Markdown: an overview, tables by mask and variant, published numbers and notes."""
    total = next(group.entries for group in groups)
    sampled = config.settings["pie_bench_sample"] is not None
    lines = [
        "# PIE-Bench",
        "",
        f"Model `{config.settings['model']}`, {total} pictures"
        + (", a sample stratified by type." if sampled else ".")
        + " Units are the benchmark's: SSIM ×10², MSE ×10⁴, LPIPS and structure ×10³, reward ×10.",
    ]
    reasons: dict[str, str] = {}
    for (mask, variant), rows in groupby(groups, lambda group: (group.mask, group.variant)):
        members = list(rows)
        lines += ["", f"## Mask {mask}, {variant}", "", *_heading_rows(["type", "measured"])]
        for group in members:
            count = f"{len(group.results)} of {group.entries}"
            cells = [_cell(group, name, reasons) for name in COLUMNS]
            lines.append(_row([group.type, count, *cells]))
        if left_out := members[0].left_out:
            lines += [
                "",
                f"Left out: {left_out} {'picture' if left_out == 1 else 'pictures'} measured with "
                "other settings; run their slices again with the current ones.",
            ]
    lines += [f"\n{reference} {reason}" for reason, reference in reasons.items()]
    lines += ["", "## Published", "", *_heading_rows(["method", "seconds"])]
    with PUBLISHED.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            lines.append(_row([row.get(name) or "–" for name in ("method", "seconds", *COLUMNS)]))
    lines += ["", "## Published, without a mask, by other measures", "", *_table(PUBLISHED_FOUND)]
    lines += ["", "## How to read this", "", NOTES.read_text(encoding="utf-8")]
    return "\n".join(lines)


def _table(path: Path) -> list[str]:
    """Return the rows of a TSV file as a Markdown table."""
    with path.open(encoding="utf-8", newline="") as file:
        heading, *rows = csv.reader(file, delimiter="\t")
    return [_row(heading), _row(["---"] * len(heading)), *map(_row, rows)]


def _heading_rows(first: Sequence[str]) -> list[str]:
    titles = [METRICS[name].title.replace("Background ", "") for name in COLUMNS]
    arrows = ["↑" if METRICS[name].higher_is_better else "↓" for name in COLUMNS]
    headings = [f"{title} {arrow}" for title, arrow in zip(titles, arrows, strict=True)]
    return [_row([*first, *headings]), _row(["---"] * (len(first) + len(headings)))]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(printable(cell).replace("|", "\\|") for cell in cells) + " |"


def _cell(group: Group, name: str, reasons: dict[str, str]) -> str:
    """Return the text of a table cell.

    It is a mean, followed by its number of pictures if that is not all measured pictures. If there
    is no value, it is a reference mark; ``reasons`` maps each reason to its mark.
    """
    cell, pictures = group.cell(name), len(group.numbers(name))
    if not pictures:
        return reasons.setdefault(cell, f"[{len(reasons) + 1}]")
    return cell if pictures == len(group.results) else f"{cell} ({pictures})"
