"""The outcome of each edit, derived from its pictures and the records of its jobs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from editinfinity.cases.case import MAP_ONLY, Case, Edit
from editinfinity.jobs.record import FAILED, STOPPED, Code, JobRecord
from editinfinity.planning.targets import Layout

EDITED, MAPPED, FAILED_EDIT, NOT_MADE = "edited", "mapped", "failed", "not made"


@dataclass(frozen=True)
class Outcome:
    """The outcome of one edit.

    Attributes:
        word: ``edited``, ``mapped`` (only an attention map was requested), ``failed`` or
            ``not made``.
        show: the picture to open, or the reason why there is none; may be empty.
        seconds: total time of its jobs that succeeded; None if none succeeded.
    """

    word: str
    show: str
    seconds: float | None

    @property
    def good(self) -> bool:
        """Whether the edit has produced a picture."""
        return self.word in (EDITED, MAPPED)


def picture_of(edit: Edit, where: Layout) -> Path:
    """Return the path of the final picture of an edit."""
    if edit.infer_function == MAP_ONLY:
        return Path(where.mask_pictures(edit.name)[1])
    return Path(where.result(edit.name))


def outcomes(
    case: Case, where: Layout, records: Sequence[JobRecord], since: float | None
) -> dict[str, Outcome]:
    """Return the outcome of each edit of a case, by the name of the edit.

    Args:
        case: the case.
        where: the file layout of the case.
        records: the records of its jobs.
        since: start of the run, in seconds since the epoch. Only records written since then count,
            so that an error that has been fixed is not reported again. None reports the current
            state: an error counts until the picture of its edit is newer.
    """
    told: dict[str, Outcome] = {}
    for edit in case.edits.values():
        picture = picture_of(edit, where)
        made = _time_of(picture)
        start = since if since is not None else (made or 0.0)
        of_case = [record for record in records if record.edit is None]
        own = [record for record in records if record.edit == edit.name]
        found = [why for each in [*of_case, *own] if (why := reason_of(each, start)) is not None]
        # The time of jobs that all edits of a case share is added to the first edit only.
        seconds = seconds_of(own if told else [*of_case, *own], since or 0.0)
        if found:
            told[edit.name] = Outcome(FAILED_EDIT, found[0], seconds)
        elif made is not None:
            word = MAPPED if edit.infer_function == MAP_ONLY else EDITED
            told[edit.name] = Outcome(word, str(picture), seconds)
        else:
            told[edit.name] = Outcome(NOT_MADE, _silence(records, start), seconds)
    return told


def _time_of(path: Path) -> float | None:
    """Return the modification time of a file; None if it does not exist."""
    with suppress(OSError):
        return path.stat().st_mtime
    return None


def reason_of(record: JobRecord, since: float) -> str | None:
    """Return why a job failed; None if it did not fail or its record is older than ``since``."""
    outcome = record.outcome
    if outcome is None or outcome.state not in (FAILED, STOPPED) or record.written < since:
        return None
    return outcome.message


def seconds_of(records: Iterable[JobRecord], since: float) -> float | None:
    """Return the total seconds of the jobs that succeeded since a time; None if there were none."""
    took = [each.seconds for each in records if each.written >= since and each.seconds is not None]
    return sum(took) if took else None


def _silence(records: Iterable[JobRecord], since: float) -> str:
    """Return a message that points to the log of the last job that ended without an outcome.

    Such a job was killed or cancelled, or it ran out of time or memory. The message is empty if
    there is no such job.
    """
    silent = [
        (record.written, record.log)
        for record in records
        if record.written >= since and record.outcome is None and record.last(Code) is None
    ]
    return f"its last job ended without a word; see {max(silent)[1]}" if silent else ""
