"""The table a run ends with: every case and edit, how it went, and what to open."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from editinfinity.workflow.cases import MAP_ONLY, Case, Cases, Edit
from editinfinity.workflow.config import Config
from editinfinity.workflow.job import FAILED
from editinfinity.workflow.plan import Layout, layout

_HEADING = ("case", "edit", "outcome", "open")


def summarise(
    config: Config,
    cases: Cases,
    since: float,
    sheets: Sequence[Path] = (),
    metrics: Path | None = None,
) -> str:
    """The table, as lines to print.

    Args:
        config: of the run.
        cases: of the run.
        since: when the run began (seconds since the epoch); only logs written later count, so
            that a fault which is mended is not told again.
        sheets: contact sheets to name below the table.
        metrics: table of the metrics to name there.
    """
    rows: list[Sequence[str]] = [_HEADING]
    failed = 0
    for case in cases.by_name.values():
        where = layout(config, case.name)
        everywhere, by_edit = _failures(case, Path(where.folder), since)
        for edit in case.edits.values():
            reasons = [*everywhere, *by_edit.get(edit.name, [])]
            outcome, show = _outcome(edit, where, reasons)
            if outcome == "not made":
                show = _silence(Path(where.folder), since)
            failed += outcome == "failed"
            rows.append((case.name, edit.name, outcome, show))
    count = len(rows) - 1
    closing = f"{count - failed} of {count} edits without a fault" if failed else ""
    below = [f"side by side: {sheet}" for sheet in sheets]
    below += [] if metrics is None else [f"in numbers: {metrics}"]
    return "\n".join(["", *_columns(rows), *([closing] if closing else []), *below])


def _outcome(edit: Edit, where: Layout, reasons: list[str]) -> tuple[str, str]:
    """(outcome, file to open or the reason)."""
    if reasons:
        return "failed", reasons[0]
    if edit.infer_function == MAP_ONLY:
        outcome, show = "mapped", f"{where.folder}/mask/{edit.name}/heatmap.png"
    else:
        outcome, show = "edited", where.chosen(edit.name)
    return (outcome, show) if Path(show).exists() else ("not made", "")


def _silence(folder: Path, since: float) -> str:
    """Where to look when no job said why it ended: killed, cancelled, out of time or of memory."""
    written = [(path.stat().st_mtime, path) for path in (folder / "logs").rglob("*.log")]
    began = [(time, path) for time, path in written if time >= since]
    return f"its last job ended without a word; see {max(began)[1]}" if began else ""


def _failures(case: Case, folder: Path, since: float) -> tuple[list[str], dict[str, list[str]]]:
    """(reasons that concern the whole case, reasons by edit), from the logs of this run."""
    everywhere: list[str] = []
    by_edit: dict[str, list[str]] = {}
    logs = folder / "logs"
    for path in sorted(logs.rglob("*.log")):
        reason = _reason(path, since)
        if reason is None:
            continue
        parts = path.relative_to(logs).parts
        if parts[0] in ("edit", "mask") and parts[1] in case.edits:
            by_edit.setdefault(parts[1], []).append(reason)
        else:
            everywhere.append(reason)
    return everywhere, by_edit


def reasons(folder: Path, since: float) -> list[str]:
    """Why jobs of a case failed since a time, a line each; ``folder`` is ``results/CASE``."""
    found = (_reason(path, since) for path in sorted((folder / "logs").rglob("*.log")))
    return [reason for reason in found if reason is not None]


def _reason(path: Path, since: float) -> str | None:
    """Why the job of a log failed, if it did, and since then."""
    try:
        if path.stat().st_mtime < since:
            return None
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    if not lines or FAILED not in lines[-1]:
        return None
    return lines[-1].partition(FAILED)[2]


def _columns(rows: Iterable[Sequence[str]]) -> list[str]:
    """Rows as lines of aligned columns; the last one is as wide as it likes."""
    rows = list(rows)
    widths = [max(_width(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    lines = []
    for row in rows:
        cells = [
            cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=False)
        ]
        lines.append("  ".join([*cells, row[-1]]).rstrip())
    return lines


def _width(text: str) -> int:
    """Columns a text takes on a terminal."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(unicodedata.combining(character) > 0 for character in text)
