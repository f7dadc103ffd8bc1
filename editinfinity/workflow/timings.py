"""What jobs took: read from the benchmarks that Snakemake writes and from the logs beside them."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from editinfinity.worker.work import Work

_OF_EDITS = ("edit", "mask")
"""Folders below ``benchmark`` and ``logs`` that hold a folder an edit; all else is the case's."""

_MEBI = 2**20


@dataclass(frozen=True)
class Timing:
    """One job that ended well.

    Attributes:
        job: its benchmark below ``results/CASE/benchmark``, without ending.
        edit: whose job it was; None for a job of the whole case.
        seconds: from its start to its end.
        memory: bytes of RAM at most, of the process that did the work; None if nobody looked.
        card: bytes of the card's memory at most; None without a card.
        ended: seconds since the epoch.
    """

    job: str
    edit: str | None
    seconds: float
    memory: int | None
    card: int | None
    ended: float


def timings(folder: Path) -> Iterator[Timing]:
    """What is known of a case's jobs, in the order they ended; ``folder`` is ``results/CASE``."""
    root = folder / "benchmark"
    found = [timing for path in root.rglob("*.tsv") if (timing := _timing(path, root))]
    yield from sorted(found, key=lambda timing: timing.ended)


def seconds_of(folder: Path, edit: str, since: float, shared: bool) -> float | None:
    """Seconds that the jobs of an edit took since a time, and those of its whole case if asked.

    None where there were none.
    """
    whose = (edit, None) if shared else (edit,)
    seconds = [
        timing.seconds
        for timing in timings(folder)
        if timing.ended >= since and timing.edit in whose
    ]
    return sum(seconds) if seconds else None


def duration(seconds: float) -> str:
    """A time as people read it: ``0.4 s``, ``12 s``, ``3:05 min``, ``2:10 h``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if (whole := round(seconds)) < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02} h"


def _timing(path: Path, root: Path) -> Timing | None:
    """The timing of one benchmark; None where it cannot be read."""
    try:
        ended = path.stat().st_mtime
        with path.open(encoding="utf-8", newline="") as file:
            row = next(csv.DictReader(file, delimiter="\t"), {})
    except (OSError, UnicodeDecodeError, csv.Error):
        return None
    seconds = _number(row.get("s"))
    if seconds is None:
        return None
    inside = path.relative_to(root).with_suffix("")
    edit = inside.parts[1] if len(inside.parts) > 2 and inside.parts[0] in _OF_EDITS else None
    work = _work(root.parent / "logs" / inside.parent / f"{inside.name}.log")
    if work is not None:
        return Timing(str(inside), edit, seconds, work.memory, work.card, ended)
    rss = _number(row.get("max_rss"))
    memory = None if rss is None else round(rss * _MEBI)
    return Timing(str(inside), edit, seconds, memory, None, ended)


def _number(text: str | None) -> float | None:
    """A cell of Snakemake's, which writes NA and - where it has no number."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def _work(log: Path) -> Work | None:
    """What the process that ran the model said it took; the job only waited for it."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    return next((work for line in reversed(lines) if (work := Work.parse(line))), None)
