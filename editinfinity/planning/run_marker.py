"""Runs that were killed before their end was told: the next run of the same cases tells it.

Snakemake calls ``onsuccess`` only where there was a job. After a run that was killed between its
last job and its last word there is none, and contact sheet, tables and page would stay missing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

MARK, TELLING = ".unfinished", ".telling"
"""How the names of files in the results begin: of the mark of a run, and of what stands for telling
how it ended, the target of a rule."""


class RunMarker:
    """Whether the end of a run was told.

    Args:
        results: folder of the results.
        cases: names of the run's cases; runs of others, at the same time too, have other marks.
    """

    def __init__(self, results: Path, cases: Iterable[str]) -> None:
        names = "\0".join(sorted(cases)).encode("utf-8", "surrogatepass")
        self._run = hashlib.sha256(names).hexdigest()[:12]
        self._results = results
        self.mark = results / f"{MARK}-{self._run}"

    def begin(self) -> None:
        """Before the first job: leave the mark."""
        self.mark.touch()

    def done(self) -> None:
        """After the last word: remove it."""
        for made in self._results.glob(f"{TELLING}-{self._run}-*"):
            made.unlink(missing_ok=True)
        self.mark.unlink(missing_ok=True)

    def target(self) -> list[Path]:
        """The file that a run has to make after one that was killed; another for every kill."""
        try:
            killed = self.mark.stat().st_mtime_ns
        except OSError:
            return []
        return [self._results / f"{TELLING}-{self._run}-{killed}"]
