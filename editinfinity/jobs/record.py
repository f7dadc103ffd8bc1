"""The record of a job: one JSON-lines file beside its log, ``results/CASE/logs/…/JOB.jsonl``.

The live display, the summary, the report and the warnings of a run read records; logs are for
people. Snakemake does not know of records, so they decide nothing about reruns.

Stages log as usual and attach an event to a log record: ``log.info(…, extra={"event": event})``.
``RecordHandler`` writes the events, and each log record of level WARNING as a ``JobWarning``, which
is about what ``extra={"about": …}`` says. A warm worker sends events to its job along with what it
logs.

``schemas/job_record.schema.yaml`` is the schema of a line. A record without a ``JobOutcome`` is of
a job that is running or was killed; one that holds a ``Code`` alone was written by an earlier
version, after a job that ended well. Nothing here imports torch.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar

ENDING = ".jsonl"
DONE, FAILED, STOPPED = "done", "failed", "stopped"
"""States of a job that has ended; a stopped one was asked to stop."""

INPUT, MASK = "input", "mask"
"""What a warning is about: how much a mask marks, or something else that the user gave."""

_MOST_BYTES = 2**22
"""Maximum that is read of a record; of a longer one, its end."""

_LARGEST = {bool: 1, int: 2**53, float: 1e15}
"""Events with numbers beyond these are left out, so that sums of what is read are finite."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


@dataclass(frozen=True)
class Code:
    """The code that made the results of a job.

    Attributes:
        rule: of the job.
        version: of the rule's stage.
        digest: of the stage's code.
        changed: whether the code was another than the version stands for.
    """

    rule: str
    version: int
    digest: str
    changed: bool

    def agrees(self, other: Code) -> bool:
        """Whether two codes compute the same results, as far as anybody has said.

        All code that a release classified under one version does. Code that somebody has
        changed since agrees with itself alone.
        """
        if self.changed or other.changed:
            return self.digest == other.digest
        return self.version == other.version


@dataclass(frozen=True)
class Iteration:
    """One iteration of a training that is done.

    Attributes:
        stage: its name.
        number: of the iteration, counted from 1.
        last: number of the last one to be run.
        loss: of it.
        rate: iterations a second since the job began.
    """

    stage: str
    number: int
    last: int
    loss: float
    rate: float

    def __str__(self) -> str:
        return (
            f"{self.stage}: iteration {self.number} of {self.last}, "
            f"loss {self.loss:.4f}, {self.rate:.2f} iterations a second"
        )


@dataclass(frozen=True)
class JobWarning:
    """Something that works but is probably not meant.

    Attributes:
        text: the message.
        about: ``INPUT`` or ``MASK``; empty for anything else.
    """

    text: str
    about: str = ""


@dataclass(frozen=True)
class ResourceUsage:
    """What one stage took, in the process that ran it: a job only waits for its worker.

    Attributes:
        stage: its name.
        seconds: of the wall clock, imports and reading of models included.
        memory: bytes of RAM that the process held at most while the stage ran, kept models
            included; None where the system does not tell.
        card: bytes of the card's memory at most; None without a card.
    """

    stage: str
    seconds: float
    memory: int | None = None
    card: int | None = None

    def __str__(self) -> str:
        parts = [f"{self.stage}: {self.seconds:.3f} s of work"]
        if self.memory is not None:
            parts.append(f"{self.memory / 1e6:.0f} MB of memory")
        if self.card is not None:
            parts.append(f"{self.card / 1e6:.0f} MB of the card")
        return ", ".join(parts)


@dataclass(frozen=True)
class JobOutcome:
    """How a job ended; the last one of a record counts.

    Attributes:
        state: ``DONE``, ``FAILED`` or ``STOPPED``.
        seconds: of the wall clock, since the job's script began.
        memory: bytes of RAM that the job's own process held at most; None where the system does
            not tell.
        message: why it did not end well, in one line; empty if it did.
    """

    state: str
    seconds: float
    memory: int | None = None
    message: str = ""


Event = Code | Iteration | JobWarning | ResourceUsage | JobOutcome
SomeEvent = TypeVar("SomeEvent", bound=Event)

EVENTS: Mapping[str, type[Event]] = {
    "code": Code,
    "iteration": Iteration,
    "warning": JobWarning,
    "usage": ResourceUsage,
    "outcome": JobOutcome,
}
"""What a line says in ``event`` → the class of its other values."""

_NAMES = {kind: name for name, kind in EVENTS.items()}


@dataclass(frozen=True)
class JobRecord:
    """The record of a job, as far as it can be read.

    Attributes:
        job: name of the job, that of its log below ``results/CASE/logs`` without ending.
        log: the job's log, beside which the record lies.
        written: when the last event was written (seconds since the epoch).
        events: in the order they happened.
    """

    job: str
    log: Path
    written: float
    events: tuple[Event, ...]

    @property
    def edit(self) -> str | None:
        """Whose job it was; None for a job of the whole case."""
        match self.job.split("/"):
            case ["edit" | "mask", edit, _, *_]:
                return edit
        return None

    @property
    def outcome(self) -> JobOutcome | None:
        """How the job ended; None if it is running, was killed, or is of an older version."""
        return self.last(JobOutcome)

    @property
    def seconds(self) -> float | None:
        """What the job took; None where it has not ended well."""
        outcome = self.outcome
        return outcome.seconds if outcome is not None and outcome.state == DONE else None

    @property
    def memory(self) -> int | None:
        """Bytes of RAM at most, of the job or of the worker that did its work."""
        ended = [outcome.memory] if (outcome := self.outcome) is not None else []
        return largest([*ended, *(usage.memory for usage in self.all(ResourceUsage))])

    @property
    def card(self) -> int | None:
        """Bytes of the card's memory at most."""
        return largest([usage.card for usage in self.all(ResourceUsage)])

    def all(self, kind: type[SomeEvent]) -> list[SomeEvent]:
        """The events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def last(self, kind: type[SomeEvent]) -> SomeEvent | None:
        """The last event of a kind."""
        return next(reversed(self.all(kind)), None)


def largest(values: list[int | None]) -> int | None:
    """The largest of the values that are known, if any is."""
    return max((value for value in values if value is not None), default=None)


def path_of(log: Path) -> Path:
    """The record beside a log."""
    return log.with_suffix(ENDING)


def to_json(event: Event) -> dict[str, Any]:
    """The event as an object of JSON."""
    return {"event": _NAMES[type(event)], **asdict(event)}


def from_json(data: object) -> Event | None:
    """The event of ``to_json``.

    Keys that are not known are left out, so that records of newer versions can be read.

    Returns:
        None for an event that is not known, and where a value is missing or of another type.
    """
    if not isinstance(data, dict) or (kind := EVENTS.get(str(data.get("event")))) is None:
        return None
    values: dict[str, Any] = {}
    for field in fields(kind):
        value = data.get(field.name, field.default)
        if type(value) not in _TYPES[str(field.type)]:
            return None
        if isinstance(value, str):  # it can be printed in one line of a terminal
            value = _CONTROL.sub(" ", value.encode("utf-8", "backslashreplace").decode())
        elif value is not None and not abs(value) <= _LARGEST[type(value)]:  # as of nan
            return None
        values[field.name] = value
    return kind(**values)


_TYPES: Mapping[str, tuple[type, ...]] = {
    "str": (str,),
    "bool": (bool,),
    "int": (int,),
    "int | None": (int, NoneType),
    "float": (int, float),
}
"""Type of a field → those that a value of JSON may have."""


def events_in(lines: bytes) -> Iterator[Event]:
    """The events of lines of a record; what is no event, such as a torn line, is left out."""
    for line in lines.split(b"\n"):
        with suppress(ValueError, RecursionError):
            if (event := from_json(json.loads(line))) is not None:
                yield event


def read_record(logs: Path, job: str, most_bytes: int = _MOST_BYTES) -> JobRecord | None:
    """The record of a job as it is now.

    Args:
        logs: ``results/CASE/logs``.
        job: see ``JobRecord``.
        most_bytes: of its end that are read.

    Returns:
        None where there is none, or it cannot be read.
    """
    log = logs / f"{job}.log"
    try:
        if not path_of(log).is_file():  # opening a named pipe would wait for ever
            return None
        with path_of(log).open("rb") as file:
            facts = os.fstat(file.fileno())
            size = min(facts.st_size, most_bytes)
            file.seek(facts.st_size - size)
            return JobRecord(job, log, facts.st_mtime, tuple(events_in(file.read(size))))
    except OSError:
        return None


def read_records(logs: Path, most_bytes: int = _MOST_BYTES) -> list[JobRecord]:
    """The records of a case, in the order of their names; arguments as of ``read_record``."""
    paths = sorted(logs.rglob(f"*{ENDING}"))
    jobs = (path.relative_to(logs).as_posix().removesuffix(ENDING) for path in paths)
    return [record for job in jobs if (record := read_record(logs, job, most_bytes)) is not None]


def event_of(record: logging.LogRecord) -> Event | None:
    """The event that a log record carries or, by its level, is."""
    event = getattr(record, "event", None)
    if isinstance(event, Event):
        return event
    if record.levelno != logging.WARNING:
        return None
    return JobWarning(record.getMessage(), getattr(record, "about", ""))


class RecordHandler(logging.Handler):
    """Writes the events of what is logged to a record, which it begins anew.

    The file is not written whole, as others are (``files/atomic.py``): it is read while the job
    runs, and shows how far a killed job came. So its last line may be torn.

    Args:
        path: of the record.

    Raises:
        OSError: it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(logging.INFO)
        # A new file: a job left over from a killed run may still be writing to the old one.
        path.unlink(missing_ok=True)
        self._file = path.open("xb", buffering=0)
        self._torn = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write the event of a log record, if it has one and the disk has room for it."""
        event = event_of(record)
        if event is None:
            return
        # Results are worth more than their record: no fault of the disk stops a job here.
        with suppress(OSError, ValueError):
            line = json.dumps(to_json(event), allow_nan=False).encode() + b"\n"
            line = b"\n" + line if self._torn else line
            self._torn = self._file.write(line) != len(line)

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):
            self._file.close()
        super().close()
