"""The record of a job: one JSON-lines file beside its log, ``results/CASE/logs/…/JOB.jsonl``.

The live display, the summary, the report and the warnings of a run are based on records; logs are
for people. Snakemake does not know about records, so they do not affect which jobs are rerun.

Stages log as usual and attach an event to a log record: ``log.info(…, extra={"event": event})``.
``RecordHandler`` writes these events. It also writes each log record of level WARNING as a
``JobWarning``, whose topic is given by ``extra={"about": …}``. A warm worker sends events to its
job along with its log messages.

``schemas/job_record.schema.yaml`` is the schema of a line. If a record has no ``JobOutcome``, its
job is running or was killed; a record that contains only a ``Code`` was written by an earlier
version of this package, after a job that succeeded. Nothing here imports torch.
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

from editinfinity.environment import Environment

ENDING = ".jsonl"
DONE, FAILED, STOPPED = "done", "failed", "stopped"
"""States of a job that has ended; a stopped job ended because it was asked to stop."""

INPUT, MASK = "input", "mask"
"""Topics of a warning: ``MASK`` is the area that a mask covers, ``INPUT`` any other user input."""

_MAX_BYTES = 2**22
"""Maximum number of bytes read from the end of a record."""

_MAX_NUMBER = {bool: 1, int: 2**53, float: 1e15}
"""Maximum absolute value by type; events with larger numbers are ignored, so that sums of the
values stay finite."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


@dataclass(frozen=True)
class Code:
    """The code that made the results of a job.

    Attributes:
        rule: name of the job's rule.
        version: version of the rule's stage.
        digest: digest of the stage's code.
        changed: whether the code differs from the code that the version stands for.
    """

    rule: str
    version: int
    digest: str
    changed: bool

    def matches(self, other: Code) -> bool:
        """Return whether this code and another compute the same results, as far as is known.

        All unchanged code with the same version number does. Code that was changed without a new
        version agrees only with identical code.
        """
        if self.changed or other.changed:
            return self.digest == other.digest
        return self.version == other.version


@dataclass(frozen=True)
class Iteration:
    """One completed iteration of a training.

    Attributes:
        stage: name of the stage.
        number: number of the iteration, counted from 1.
        last: number of the last iteration to be run.
        loss: loss of this iteration.
        rate: iterations per second since the job began.
    """

    stage: str
    number: int
    last: int
    loss: float
    rate: float

    def __str__(self) -> str:
        return (
            f"{self.stage}: iteration {self.number} of {self.last}, "
            f"loss {self.loss:.4f}, {self.rate:.2f} iterations per second"
        )


@dataclass(frozen=True)
class JobWarning:
    """Something that works but is probably a mistake.

    Attributes:
        text: the message.
        about: ``INPUT`` or ``MASK``; empty for any other topic.
    """

    text: str
    about: str = ""


@dataclass(frozen=True)
class ResourceUsage:
    """Resources used by one stage, measured in the process that ran it.

    If a worker ran the stage, the job's own process only waited for it.

    Attributes:
        stage: name of the stage.
        seconds: wall-clock time, including imports and loading of models.
        memory: peak RAM of the process while the stage ran, in bytes, including cached models; None
            if the system does not report it.
        card: peak GPU memory in bytes; None without a GPU.
    """

    stage: str
    seconds: float
    memory: int | None = None
    card: int | None = None

    def __str__(self) -> str:
        parts = [f"{self.stage}: {self.seconds:.3f} s"]
        if self.memory is not None:
            parts.append(f"{self.memory / 1e6:.0f} MB of RAM")
        if self.card is not None:
            parts.append(f"{self.card / 1e6:.0f} MB of GPU memory")
        return ", ".join(parts)


@dataclass(frozen=True)
class JobOutcome:
    """How a job ended; if a record contains several, the last one counts.

    Attributes:
        state: ``DONE``, ``FAILED`` or ``STOPPED``.
        seconds: wall-clock time since the job's script began.
        memory: peak RAM of the job's own process, in bytes; None if the system does not report it.
        message: why the job failed or was stopped, in one line; empty if it succeeded.
    """

    state: str
    seconds: float
    memory: int | None = None
    message: str = ""


Event = Code | Environment | Iteration | JobWarning | ResourceUsage | JobOutcome
SomeEvent = TypeVar("SomeEvent", bound=Event)

EVENTS: Mapping[str, type[Event]] = {
    "code": Code,
    "environment": Environment,
    "iteration": Iteration,
    "warning": JobWarning,
    "usage": ResourceUsage,
    "outcome": JobOutcome,
}
"""Value of ``event`` in a line → dataclass of the line's other values."""

_EVENT_NAMES = {event_type: name for name, event_type in EVENTS.items()}


@dataclass(frozen=True)
class JobRecord:
    """The record of a job, as far as it can be read.

    Attributes:
        job: name of the job: path of its log below ``results/CASE/logs``, without ending.
        log: path of the job's log; the record is beside it.
        written: time at which the last event was written (seconds since the epoch).
        events: events in chronological order.
    """

    job: str
    log: Path
    written: float
    events: tuple[Event, ...]

    @property
    def edit(self) -> str | None:
        """Name of the job's edit; None for a job of the whole case."""
        match self.job.split("/"):
            case ["edit" | "mask", edit, _, *_]:
                return edit
        return None

    @property
    def outcome(self) -> JobOutcome | None:
        """How the job ended; None if it is running, was killed, or ran under an older version."""
        return self.last(JobOutcome)

    @property
    def seconds(self) -> float | None:
        """Duration of the job in seconds, without waiting for a GPU; None if it has not succeeded.

        The waiting is not part of the stage, which is all that a job with a model does.
        """
        outcome, usage = self.outcome, self.last(ResourceUsage)
        if outcome is None or outcome.state != DONE:
            return None
        return outcome.seconds if usage is None else usage.seconds

    @property
    def memory(self) -> int | None:
        """Peak RAM in bytes, of the job or of the worker that ran its stage; None if unknown."""
        ended = [outcome.memory] if (outcome := self.outcome) is not None else []
        return largest([*ended, *(usage.memory for usage in self.all(ResourceUsage))])

    @property
    def card(self) -> int | None:
        """Peak GPU memory in bytes; None if unknown."""
        return largest([usage.card for usage in self.all(ResourceUsage)])

    def all(self, event_type: type[SomeEvent]) -> list[SomeEvent]:
        """Return the events of one class."""
        return [event for event in self.events if isinstance(event, event_type)]

    def last(self, event_type: type[SomeEvent]) -> SomeEvent | None:
        """Return the last event of one class, or None."""
        return next(reversed(self.all(event_type)), None)


def largest(values: list[int | None]) -> int | None:
    """Return the largest of the values that are not None; None if all are."""
    return max((value for value in values if value is not None), default=None)


def record_path(log: Path) -> Path:
    """Return the path of the record that belongs to a log."""
    return log.with_suffix(ENDING)


def to_json(event: Event) -> dict[str, Any]:
    """Return an event as a JSON object."""
    return {"event": _EVENT_NAMES[type(event)], **asdict(event)}


def from_json(data: object) -> Event | None:
    """Return the event that ``to_json`` encoded.

    Unknown keys are ignored, so that records of newer versions can be read.

    Returns:
        The event; None if its name is unknown, or if a value is missing, has a wrong type, or is a
        number beyond ``_MAX_NUMBER``.
    """
    if not isinstance(data, dict) or (event_type := EVENTS.get(str(data.get("event")))) is None:
        return None
    values: dict[str, Any] = {}
    for field in fields(event_type):
        value = data.get(field.name, field.default)
        if type(value) not in _TYPES[str(field.type)]:
            return None
        if isinstance(value, str):  # make it printable in one line of a terminal
            value = _CONTROL.sub(" ", value.encode("utf-8", "backslashreplace").decode())
        elif value is not None and not abs(value) <= _MAX_NUMBER[type(value)]:  # also true for nan
            return None
        values[field.name] = value
    return event_type(**values)


_TYPES: Mapping[str, tuple[type, ...]] = {
    "str": (str,),
    "bool": (bool,),
    "int": (int,),
    "int | None": (int, NoneType),
    "float": (int, float),
}
"""Annotation of a dataclass field → types that its JSON value may have."""


def events_in(lines: bytes) -> Iterator[Event]:
    """Yield the events in the lines of a record; skip invalid lines, e.g. truncated ones."""
    for line in lines.split(b"\n"):
        with suppress(ValueError, RecursionError):
            if (event := from_json(json.loads(line))) is not None:
                yield event


def read_record(logs: Path, job: str, max_bytes: int = _MAX_BYTES) -> JobRecord | None:
    """Read the current record of a job.

    Args:
        logs: ``results/CASE/logs``.
        job: name of the job; see ``JobRecord``.
        max_bytes: maximum number of bytes read from the end of the record.

    Returns:
        The record; None if it does not exist or cannot be read.
    """
    log = logs / f"{job}.log"
    try:
        if not record_path(log).is_file():  # opening a named pipe would block forever
            return None
        with record_path(log).open("rb") as file:
            stats = os.fstat(file.fileno())
            size = min(stats.st_size, max_bytes)
            file.seek(stats.st_size - size)
            return JobRecord(job, log, stats.st_mtime, tuple(events_in(file.read(size))))
    except OSError:
        return None


def read_records(logs: Path, max_bytes: int = _MAX_BYTES) -> list[JobRecord]:
    """Read the records of a case, sorted by name; see ``read_record`` for the arguments."""
    paths = sorted(logs.rglob(f"*{ENDING}"))
    jobs = (path.relative_to(logs).as_posix().removesuffix(ENDING) for path in paths)
    return [record for job in jobs if (record := read_record(logs, job, max_bytes)) is not None]


def logged_event(record: logging.LogRecord) -> Event | None:
    """Return the event attached to a log record, a ``JobWarning`` for a plain warning, or None."""
    event = getattr(record, "event", None)
    if isinstance(event, Event):
        return event
    if record.levelno != logging.WARNING:
        return None
    return JobWarning(record.getMessage(), getattr(record, "about", ""))


class RecordHandler(logging.Handler):
    """Logging handler that writes events to a new record.

    Unlike other files (``files/atomic.py``), a record is not written atomically: it is read while
    the job runs, and shows how far a killed job came. Its last line may therefore be truncated.

    Args:
        path: path of the record.

    Raises:
        OSError: the record cannot be written.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(logging.INFO)
        # Create a new file, as a job left over from a killed run may still write to the old one.
        path.unlink(missing_ok=True)
        self._file = path.open("xb", buffering=0)
        self._line_incomplete = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write the event of a log record, if it has one and the disk has room for it."""
        event = logged_event(record)
        if event is None:
            return
        # A job must not fail only because its record cannot be written.
        with suppress(OSError, ValueError):
            line = json.dumps(to_json(event), allow_nan=False).encode() + b"\n"
            line = b"\n" + line if self._line_incomplete else line
            self._line_incomplete = self._file.write(line) != len(line)

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):
            self._file.close()
        super().close()
