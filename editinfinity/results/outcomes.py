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
        status: ``edited``, ``mapped`` (only an attention map was requested), ``failed`` or
            ``not made``.
        detail: the picture to open, or the reason why there is none; may be empty.
        seconds: total time of its jobs that succeeded; None if none succeeded.
    """

    status: str
    detail: str
    seconds: float | None

    @property
    def succeeded(self) -> bool:
        """Whether the edit has produced a picture."""
        return self.status in (EDITED, MAPPED)


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
    result: dict[str, Outcome] = {}
    for edit in case.edits.values():
        picture = picture_of(edit, where)
        modified = _time_of(picture)
        start = since if since is not None else (modified or 0.0)
        of_case = [record for record in records if record.edit is None]
        of_edit = [record for record in records if record.edit == edit.name]
        messages = [failure_message(record, start) for record in [*of_case, *of_edit]]
        errors = [message for message in messages if message is not None]
        # The time of jobs that all edits of a case share is added to the first edit only.
        seconds = total_seconds(of_edit if result else [*of_case, *of_edit], since or 0.0)
        if errors:
            result[edit.name] = Outcome(FAILED_EDIT, errors[0], seconds)
        elif modified is not None:
            status = MAPPED if edit.infer_function == MAP_ONLY else EDITED
            result[edit.name] = Outcome(status, str(picture), seconds)
        else:
            result[edit.name] = Outcome(NOT_MADE, killed_job_message(records, start), seconds)
    return result


def _time_of(path: Path) -> float | None:
    """Return the modification time of a file; None if it does not exist."""
    with suppress(OSError):
        return path.stat().st_mtime
    return None


def failure_message(record: JobRecord, since: float) -> str | None:
    """Return why a job failed; None if it did not fail or its record is older than ``since``."""
    outcome = record.outcome
    if outcome is None or outcome.state not in (FAILED, STOPPED) or record.written < since:
        return None
    return outcome.message


def total_seconds(records: Iterable[JobRecord], since: float) -> float | None:
    """Return the total seconds of the jobs that succeeded since a time; None if there were none."""
    times = [job.seconds for job in records if job.written >= since and job.seconds is not None]
    return sum(times) if times else None


def killed_job_message(records: Iterable[JobRecord], since: float) -> str:
    """Return a message that points to the log of the last job that ended without an outcome.

    Such a job was killed or cancelled, or it ran out of time or memory. The message is empty if
    there is no such job.
    """
    unfinished = [
        (record.written, record.log)
        for record in records
        if record.written >= since and record.outcome is None and record.last(Code) is None
    ]
    return f"its last job ended without an outcome; see {max(unfinished)[1]}" if unfinished else ""
