"""Reads the iterations of running jobs from their records, on whichever machine the jobs run."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from editinfinity.display.run_state import RunState
from editinfinity.jobs.record import Iteration, read_record

_MOST = 2**14
"""Maximum number of bytes read from the end of a record at a time."""


class Follower:
    """Polls the records of running jobs, and skips those unchanged since they were last read."""

    def __init__(self, board: RunState) -> None:
        self.board = board
        self._read: dict[Path, tuple[int, int]] = {}

    def look(self) -> None:
        """Report the iterations completed since the last call to the board."""
        for number, job in self.board.running.items():
            if job.record is None:
                continue
            with suppress(OSError):
                facts = job.record.stat()
                now = (facts.st_mtime_ns, facts.st_size)
                began = time.time() - (self.board.clock() - job.since)
                # The record of an earlier job stays until this job starts a new one.
                if facts.st_mtime < began - 1 or self._read.get(job.record) == now:
                    continue
                self._read[job.record] = now
                record = read_record(job.record.parent, job.record.stem, _MOST)
                latest = None if record is None else record.last(Iteration)
                if latest is not None and latest != job.latest:
                    self.board.hear(number, latest)
