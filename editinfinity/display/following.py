"""Reads the iterations of running jobs from their records, on whichever machine the jobs run."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from editinfinity.display.run_state import RunState
from editinfinity.jobs.record import Iteration, read_record

_MAX_BYTES = 2**14
"""Maximum number of bytes read from the end of a record at a time."""


class Follower:
    """Polls the records of running jobs, and skips those unchanged since they were last read."""

    def __init__(self, state: RunState) -> None:
        self.state = state
        self._read: dict[Path, tuple[int, int]] = {}

    def poll(self) -> None:
        """Report to the run state the iterations completed since the last call."""
        for number, job in self.state.running.items():
            if job.record is None:
                continue
            with suppress(OSError):
                status = job.record.stat()
                version = (status.st_mtime_ns, status.st_size)
                started = time.time() - (self.state.clock() - job.started)
                # A record older than this job belongs to an earlier run of it.
                if status.st_mtime < started - 1 or self._read.get(job.record) == version:
                    continue
                self._read[job.record] = version
                record = read_record(job.record.parent, job.record.stem, _MAX_BYTES)
                latest = None if record is None else record.last(Iteration)
                if latest is not None and latest != job.latest:
                    self.state.report_iteration(number, latest)
