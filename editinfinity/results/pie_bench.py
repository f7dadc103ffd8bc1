"""Writes the PIE-Bench tables: mean metrics by edit type and overall, with and without its masks.

The tables are written when a run ends. They cover everything measured so far, in this run or in
another slice of it. ``pie_bench.tsv`` is for programs; ``pie_bench.md`` is for people and also
lists the published numbers.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from editinfinity.cases.case import Edit
from editinfinity.cases.pie_bench import FIXED, FOUND, GIVEN, case_of_entry, selected_entries
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

ALL = "all"
OTHERS = "of other settings"
MASKS = {GIVEN: "given", FOUND: "not given"}

SHOWN = tuple(name for name in METRICS if name != "alignment")
"""The metrics of the benchmark; ``alignment`` only applies to pictures of the bundled world."""


@dataclass(frozen=True)
class Group:
    """A row of the table.

    Attributes:
        mask: ``given`` or ``not given``.
        variant: the name of the variant.
        type: one of ``TYPES``, or ``ALL``.
        entries: number of chosen pictures of that type.
        measured: the metrics of those pictures that have been measured.
        others: number of pictures left out because they were measured with other settings.
    """

    mask: str
    variant: str
    type: str
    entries: int
    measured: Sequence[MetricResults]
    others: int

    def numbers(self, name: str) -> list[float]:
        """Return the values of a metric; a value is nan if the region it measures is empty."""
        return [each.values[name] for each in self.measured if name in each.values]

    def cell(self, name: str) -> str:
        """Return a mean in the benchmark's units, ``nan``, or the reason why there is no value."""
        found = self.numbers(name)
        if finite := [value for value in found if not math.isnan(value)]:
            mean = math.fsum(finite) / len(finite)
            return f"{mean * METRICS[name].published_times:.2f}"
        if found:
            return "nan"
        reasons = [each.missing[name] for each in self.measured if name in each.missing]
        return reasons[0].partition(";")[0] if reasons else "not measured"


def write_tables(config: Config) -> list[Path]:
    """Write both tables.

    Returns:
        Their paths; empty if nothing has been measured yet.

    Raises:
        UserError: the benchmark can no longer be read, or a table cannot be written.
    """
    groups = list(_groups(config, selected_entries(config).entries))
    if not any(group.measured for group in groups):
        return []
    tables = {
        Path(config.results, "pie_bench.md"): _for_people(groups, config),
        Path(config.results, "pie_bench.tsv"): _for_programs(groups),
    }
    for path, text in tables.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            write_text(path, text)
    return list(tables)


def _groups(config: Config, entries: Sequence[Entry]) -> Iterable[Group]:
    model = model_identity(config.settings)
    cases = [(entry, case_of_entry(entry, config)) for entry in entries]
    for edit, mask in MASKS.items():
        for variant in variants_of({**config.settings, **FIXED}):
            found = [
                (entry, _measured(case.edits[edit], layout(config, case.name), variant, model))
                for entry, case in cases
            ]
            for index, kind in [(None, ALL), *enumerate(TYPES)]:
                members = [each for entry, each in found if index in (None, entry.type)]
                if members:
                    there = [each for each in members if isinstance(each, MetricResults)]
                    others = members.count(OTHERS)
                    yield Group(mask, variant.name, kind, len(members), there, others)


def _measured(
    edit: Edit, where: Layout, variant: Variant, model: str
) -> MetricResults | str | None:
    """Return the metrics of an edit; None if there are none yet; ``OTHERS`` if settings differ."""
    measured = metric_results_of(edit, where, variant)
    if measured and measured.drawn_with != drawing_identity(edit.settings, variant, model):
        return OTHERS
    return measured


def _for_programs(groups: Sequence[Group]) -> str:
    counts = [f"{name}_pictures" for name in SHOWN]
    heading = ("mask", "variant", "type", "entries", "measured", "with_background", *SHOWN, *counts)
    rows: list[Sequence[object]] = [heading]
    for group in groups:
        with_background = sum(each.number("background_psnr") is not None for each in group.measured)
        numbers = (len(group.numbers(name)) for name in SHOWN)
        first = (group.mask, group.variant, group.type, group.entries, len(group.measured))
        rows.append([*first, with_background, *map(group.cell, SHOWN), *numbers])
    return "".join("\t".join(map(str, row)) + "\n" for row in rows)


def _for_people(groups: Sequence[Group], config: Config) -> str:
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
        lines += ["", f"## Mask {mask}, {variant}", "", *_columns(["type", "measured"])]
        for group in members:
            count = f"{len(group.measured)} of {group.entries}"
            cells = [_cell(group, name, reasons) for name in SHOWN]
            lines.append(_row([group.type, count, *cells]))
        if others := members[0].others:
            lines += [
                "",
                f"Left out: {others} {'picture' if others == 1 else 'pictures'} measured with "
                "other settings; run their slices again with these.",
            ]
    lines += [f"\n{mark} {reason}" for reason, mark in reasons.items()]
    lines += ["", "## Published", "", *_columns(["method", "seconds"])]
    with PUBLISHED.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            lines.append(_row([row.get(name) or "–" for name in ("method", "seconds", *SHOWN)]))
    lines += ["", "## How to read this", "", NOTES.read_text(encoding="utf-8")]
    return "\n".join(lines)


def _columns(first: Sequence[str]) -> list[str]:
    titles = [METRICS[name].title.replace("Background ", "") for name in SHOWN]
    arrows = ["↑" if METRICS[name].higher_is_better else "↓" for name in SHOWN]
    heads = [f"{title} {arrow}" for title, arrow in zip(titles, arrows, strict=True)]
    return [_row([*first, *heads]), _row(["---"] * (len(first) + len(heads)))]


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
    return cell if pictures == len(group.measured) else f"{cell} ({pictures})"
