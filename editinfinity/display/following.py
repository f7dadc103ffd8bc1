"""Looks at the records of running jobs, wherever these run, for their iterations."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from editinfinity.display.run_state import RunState
from editinfinity.jobs.record import Iteration, read_record

_MOST = 2**14
"""Bytes of a record that one look reads; only its end is of interest."""


class Follower:
    """Remembers what each record was like when it was last read."""

    def __init__(self, board: RunState) -> None:
        self.board = board
        self._read: dict[Path, tuple[int, int]] = {}

    def look(self) -> None:
        """Tell the board of iterations that were done since the last look."""
        for number, job in self.board.running.items():
            if job.record is None:
                continue
            with suppress(OSError):
                facts = job.record.stat()
                now = (facts.st_mtime_ns, facts.st_size)
                began = time.time() - (self.board.clock() - job.since)
                # What an earlier job left, until this one begins the record anew.
                if facts.st_mtime < began - 1 or self._read.get(job.record) == now:
                    continue
                self._read[job.record] = now
                record = read_record(job.record.parent, job.record.stem, _MOST)
                latest = None if record is None else record.last(Iteration)
                if latest is not None and latest != job.latest:
                    self.board.hear(number, latest)
