"""Marker of runs that were killed before their final report: the next run of these cases makes it.

Snakemake calls ``onsuccess`` only if it ran at least one job. If a run is killed between its last
job and its final report, the next run has no job left, and contact sheet, tables and page would
stay missing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

MARKER, REPORT_TARGET = ".unfinished", ".telling"
"""Prefixes of file names in the results folder: of the marker of an unfinished run, and of the
dummy target of the rule that makes the missing final report."""


class RunMarker:
    """Tracks whether the final report of a run was made.

    Args:
        results: folder of the results.
        cases: names of the run's cases; runs of other cases, even simultaneous ones, have other
            markers.
    """

    def __init__(self, results: Path, cases: Iterable[str]) -> None:
        names = "\0".join(sorted(cases)).encode("utf-8", "surrogatepass")
        self._run_id = hashlib.sha256(names).hexdigest()[:12]
        self._results = results
        self.path = results / f"{MARKER}-{self._run_id}"

    def create(self) -> None:
        """Create the marker, before the first job."""
        self.path.touch()

    def remove(self) -> None:
        """Remove the marker, after the final report."""
        for target in self._results.glob(f"{REPORT_TARGET}-{self._run_id}-*"):
            target.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)

    def report_targets(self) -> list[Path]:
        """Return the report target that a run must make after a killed run; an empty list if none.

        Its name contains the time of the killed run, so that every killed run has its own target.
        """
        try:
            killed = self.path.stat().st_mtime_ns
        except OSError:
            return []
        return [self._results / f"{REPORT_TARGET}-{self._run_id}-{killed}"]
