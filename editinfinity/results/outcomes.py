"""How an edit went: told from the pictures and records of jobs that a run leaves behind."""

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
    """How one edit went.

    Attributes:
        word: ``edited``, ``mapped`` (only an attention map was asked for), ``failed`` or
            ``not made``.
        show: the picture to open, or the reason why there is none; may be empty.
        seconds: that its jobs took; None where none of them ended well.
    """

    word: str
    show: str
    seconds: float | None

    @property
    def good(self) -> bool:
        """Whether there is a picture."""
        return self.word in (EDITED, MAPPED)


def picture_of(edit: Edit, where: Layout) -> Path:
    """The picture that an edit ends in."""
    if edit.infer_function == MAP_ONLY:
        return Path(where.mask_pictures(edit.name)[1])
    return Path(where.chosen(edit.name))


def outcomes(
    case: Case, where: Layout, records: Sequence[JobRecord], since: float | None
) -> dict[str, Outcome]:
    """Edit → how it went.

    Args:
        case: the case.
        where: its files.
        records: of its jobs.
        since: when the run began (seconds since the epoch): only what was written later counts,
            so that a fault which is mended is not told again. None asks how things stand: a fault
            counts until its edit's picture is newer.
    """
    told: dict[str, Outcome] = {}
    for edit in case.edits.values():
        picture = picture_of(edit, where)
        made = _time_of(picture)
        start = since if since is not None else (made or 0.0)
        of_case = [record for record in records if record.edit is None]
        own = [record for record in records if record.edit == edit.name]
        found = [why for each in [*of_case, *own] if (why := reason_of(each, start)) is not None]
        # What a case's edits share is counted with the first of them.
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
    """When a file was last written; None where there is none."""
    with suppress(OSError):
        return path.stat().st_mtime
    return None


def reason_of(record: JobRecord, since: float) -> str | None:
    """Why a job failed, if it did, and since a time."""
    outcome = record.outcome
    if outcome is None or outcome.state not in (FAILED, STOPPED) or record.written < since:
        return None
    return outcome.message


def seconds_of(records: Iterable[JobRecord], since: float) -> float | None:
    """Seconds that jobs took which ended well since a time; None where there were none."""
    took = [each.seconds for each in records if each.written >= since and each.seconds is not None]
    return sum(took) if took else None


def _silence(records: Iterable[JobRecord], since: float) -> str:
    """Where to look when no job said why it ended: killed, cancelled, out of time or of memory."""
    silent = [
        (record.written, record.log)
        for record in records
        if record.written >= since and record.outcome is None and record.last(Code) is None
    ]
    return f"its last job ended without a word; see {max(silent)[1]}" if silent else ""
