"""The summary table printed when a run ends: the outcome of every edit and the file to open."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from rich.cells import cell_len

from editinfinity.cases.case import Cases
from editinfinity.config.load import Config
from editinfinity.errors import UserError
from editinfinity.jobs.record import read_records
from editinfinity.planning.targets import layout
from editinfinity.results.outcomes import FAILED_EDIT, outcomes

_HEADING = ("case", "edit", "outcome", "time", "open")


def end_of_run(
    config: Config,
    cases: Cases,
    since: float,
    notices: Iterable[str],
    warn: Callable[[str], object],
) -> str:
    """Write the contact sheets, metric tables and report page of a run, and summarise it.

    Args:
        config, cases, since: as in ``summarise``.
        notices: lines to repeat below the table.
        warn: called with one line for each of these files that cannot be written.

    Returns:
        The table of ``summarise``, followed by the paths of the files.
    """
    # Planning does not need Pillow, so it is imported only here.
    from editinfinity.results.metrics_table import write_metrics_table
    from editinfinity.results.report.make import make_report
    from editinfinity.results.sheets import make_sheets
    from editinfinity.results.warnings import mask_warnings

    makers: list[tuple[str, Callable[[], Path | list[Path] | None]]] = [
        ("contact sheets", lambda: make_sheets(config, cases)),
        ("metrics", lambda: write_metrics_table(config, cases)),
    ]
    if config.settings["pie_bench"] is not None:
        from editinfinity.results.pie_bench import write_tables

        makers.append(("metrics", lambda: write_tables(config)))
    # Each of several slices would overwrite the report of the others.
    if config.part == (1, 1):
        makers.append(("report", lambda: make_report(config, cases)))
    below = [*notices, *mask_warnings(config, cases)]
    for label, make in makers:
        try:
            written = make()
        except (UserError, OSError, ValueError) as error:
            # A damaged file must not prevent the summary of the run.
            warn(f"{label}: {error}")
            continue
        files = written if isinstance(written, list) else [written]
        below += [f"{label}: {file}" for file in files if file is not None]
    return summarise(config, cases, since, below)


def summarise(config: Config, cases: Cases, since: float, below: Sequence[str] = ()) -> str:
    """Return the summary table as text.

    Args:
        config: the configuration of the run.
        cases: the cases of the run.
        since: start of the run, in seconds since the epoch; only errors and times since then
            count. The time of jobs that all edits of a case share is added to the first edit.
        below: lines to print below the table.
    """
    rows: list[Sequence[str]] = [_HEADING]
    for case in cases.by_name.values():
        where = layout(config, case.name)
        records = read_records(Path(where.folder, "logs"))
        for edit, outcome in outcomes(case, where, records, since).items():
            time = "" if outcome.seconds is None else duration(outcome.seconds)
            rows.append((case.name, edit, outcome.status, time, outcome.detail))
    count, failed = len(rows) - 1, sum(row[2] == FAILED_EDIT for row in rows)
    closing = f"{count - failed} of {count} edits without an error" if failed else ""
    return "\n".join(["", *columns_of(rows), *([closing] if closing else []), *below])


def columns_of(rows: Sequence[Sequence[str]]) -> list[str]:
    """Format rows as lines of aligned columns; the last column is not padded."""
    widths = [max(cell_len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    lines = []
    for row in rows:
        cells = [
            cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=False)
        ]
        lines.append("  ".join([*cells, row[-1]]).rstrip())
    return lines


def duration(seconds: float) -> str:
    """Format a duration: ``0.4 s``, ``12 s``, ``3:05 min``, ``2:10 h``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if (whole := round(seconds)) < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02} h"
