"""Writes ``results/metrics.tsv``, which has one row of metrics for every variant.

The table is written when a run ends, not by a Snakemake rule: a rule that depends on all cases
would wait for every case, and would not run at all if one of them failed. An unchanged table is
not written again.
"""

from __future__ import annotations

import csv
import io
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from editinfinity.cases.case import MAP_ONLY, Cases
from editinfinity.config.load import Config
from editinfinity.evaluation.names import NAMES
from editinfinity.files.atomic import write_text
from editinfinity.locks import lock_file
from editinfinity.planning.targets import layout
from editinfinity.planning.variants import variants_of
from editinfinity.results.selection import metric_results_of

log = logging.getLogger(__name__)

COLUMNS = ("case", "edit", "variant", *NAMES)


def write_metrics_table(config: Config, cases: Cases) -> Path | None:
    """Gather the metrics files of a run's cases into one table.

    Rows of cases outside this run, for example of another slice, are kept as long as their metrics
    files exist.

    Returns:
        The path of the table; None if there are no metrics.
    """
    table = Path(config.results, "metrics.tsv")
    rows: list[list[str]] = []
    for case in cases.by_name.values():
        where = layout(config, case.name)
        for edit in case.edits.values():
            if edit.infer_function == MAP_ONLY:
                continue
            for variant in variants_of(edit.settings):
                if metrics := metric_results_of(edit, where, variant, log.warning):
                    cells = [metrics.cell(name) for name in NAMES]
                    rows.append([case.name, edit.name, variant.name, *cells])
    if not table.parent.is_dir():
        return None
    with _locked(table.parent):
        kept_rows = [row for row in _valid_rows(table, config) if row[0] not in cases.by_name]
        if not (kept_rows or rows):
            table.unlink(missing_ok=True)
            return None
        text = io.StringIO()
        writer = csv.writer(text, delimiter="\t", lineterminator="\n")
        writer.writerows([COLUMNS, *kept_rows, *rows])
        if not table.exists() or table.read_text(encoding="utf-8") != text.getvalue():
            write_text(table, text.getvalue())
    return table


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock a folder, so that two slices that end together do not overwrite each other's rows."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some file systems do not support locks
            lock_file(handle, wait=True)
        yield
    finally:
        os.close(handle)


def _valid_rows(table: Path, config: Config) -> list[list[str]]:
    """Return the rows of an earlier table whose metrics files still exist."""
    try:
        with table.open(encoding="utf-8", newline="") as file:
            heading, *rows = csv.reader(file, delimiter="\t")
    except (OSError, ValueError, csv.Error):
        return []
    if tuple(heading) != COLUMNS:
        return []
    return [
        row
        for row in rows
        if len(row) == len(COLUMNS)
        and Path(config.results, row[0], "edit", row[1], f"{row[2]}.metrics.json").exists()
    ]
