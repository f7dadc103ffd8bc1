"""Records of jobs as jobs leave them, made in a moment."""

from __future__ import annotations

import json
from pathlib import Path

from editinfinity.jobs.record import DONE, FAILED, Code, Event, JobOutcome, record_path, to_json


def write_record(logs: Path, job: str, *events: Event) -> Path:
    """Write the record of a job, and a log that nobody reads: the record's path."""
    record = record_path(logs / f"{job}.log")
    record.parent.mkdir(parents=True, exist_ok=True)
    record.with_suffix(".log").write_text("12:00:00 CRITICAL prose for people\n", "utf-8")
    record.write_text("".join(f"{json.dumps(to_json(event))}\n" for event in events), "utf-8")
    return record


def done(seconds: float = 1.0, memory: int | None = None) -> tuple[Event, Event]:
    """The last events of a job that went well."""
    return Code("check", 1, "0" * 16, False), JobOutcome(DONE, seconds, memory)


def failed(message: str) -> JobOutcome:
    """The last event of a job that did not."""
    return JobOutcome(FAILED, 1.0, None, message)
