"""Reads on in the records of running jobs, wherever these run, for their iterations."""

from __future__ import annotations

import time
from pathlib import Path

from editinfinity.display.board import Board, RunningJob
from editinfinity.jobs.record import Iteration, events_in

_MOST = 2**16
"""Bytes of a record that one look reads; only its end is of interest."""


class Follower:
    """Remembers how far each record has been read."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self._read: dict[int, tuple[float, int]] = {}

    def look(self) -> None:
        """Tell the board of iterations that were done since the last look."""
        running = self.board.running
        self._read = {number: place for number, place in self._read.items() if number in running}
        for number, job in running.items():
            if job.record is not None and (heard := self._latest(number, job, job.record)):
                self.board.hear(number, heard)

    def _latest(self, number: int, job: RunningJob, record: Path) -> Iteration | None:
        began, offset = self._read.get(number, (0.0, 0))
        if began != job.since:  # the job is run once more
            began, offset = job.since, 0
        try:
            facts = record.stat()
            # What an earlier job left, until this one begins the record anew.
            age = self.board.clock() - job.since
            if facts.st_mtime < time.time() - age - 1 or facts.st_size == offset:
                return None
            offset = offset if offset <= facts.st_size else 0
            with record.open("rb") as file:
                file.seek(max(offset, facts.st_size - _MOST))
                start, data = file.tell(), file.read(_MOST)
        except OSError:
            return None
        whole = data.rfind(b"\n") + 1  # the last line may still be being written
        self._read[number] = (began, start + whole)
        done = [event for event in events_in(data[:whole]) if isinstance(event, Iteration)]
        return done[-1] if done else None
