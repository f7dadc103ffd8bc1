"""The state of a run: its running jobs, their progress, and an estimate of the time left."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from editinfinity.jobs.record import Iteration


@dataclass(frozen=True)
class RunningJob:
    """A running job.

    Attributes:
        rule: the name of its rule.
        case: the name of its case; empty if it belongs to none.
        label: description of the job for display.
        record: path of its record; None if it has no log.
        started: start time, on the clock of the :class:`RunState`.
        first, latest: the first and the latest iteration reported.
        reported: time of the latest report, on the same clock.
    """

    rule: str
    case: str
    label: str
    record: Path | None
    started: float
    first: Iteration | None = None
    latest: Iteration | None = None
    reported: float = 0.0

    @property
    def fraction(self) -> float | None:
        """Completed fraction of a training, from 0 to 1; None if no iterations are reported."""
        if self.first is None or self.latest is None:
            return None
        already_done = self.first.number - 1
        return (self.latest.number - already_done) / max(1, self.latest.last - already_done)

    def seconds_left(self, now: float) -> float | None:
        """Return the estimated seconds left for its iterations; None if there is no estimate."""
        if self.latest is None or self.latest.rate <= 0:
            return None
        after_report = (self.latest.last - self.latest.number) / self.latest.rate
        return max(0.0, after_report - (now - self.reported))


@dataclass
class RunState:
    """The state of the run; thread-safe.

    Attributes:
        clock: returns the time in seconds of a monotonic clock.
    """

    clock: Callable[[], float] = time.monotonic
    _planned: Counter[str] = field(default_factory=Counter)
    _durations: dict[str, list[float]] = field(default_factory=dict)
    _running: dict[int, RunningJob] = field(default_factory=dict)
    _failed: Counter[str] = field(default_factory=Counter)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self.started = self.clock()

    def plan(self, jobs: Mapping[str, int]) -> None:
        """Set the planned number of jobs per rule, and restart the clock of the run."""
        with self._lock:
            self._planned = Counter(jobs)
            self.started = self.clock()

    def begin(self, number: int, rule: str, case: str, label: str, record: Path | None) -> None:
        """Record that a job has started or restarted."""
        with self._lock:
            self._running[number] = RunningJob(rule, case, label, record, self.clock())

    def report_iteration(self, number: int, iteration: Iteration) -> None:
        """Record a completed iteration of a running job."""
        with self._lock:
            if job := self._running.get(number):
                first = job.first or iteration
                self._running[number] = replace(
                    job, first=first, latest=iteration, reported=self.clock()
                )

    def end(self, number: int, succeeded: bool = True) -> None:
        """Record that a job has ended, successfully or not."""
        with self._lock:
            job = self._running.pop(number, None)
            if job is None:
                return
            if succeeded:
                self._durations.setdefault(job.rule, []).append(self.clock() - job.started)
            else:
                self._failed[job.rule] += 1

    @property
    def running(self) -> dict[int, RunningJob]:
        """Running jobs by number, in the order they started."""
        with self._lock:
            return dict(self._running)

    def counts(self) -> tuple[int, int, int]:
        """Return the numbers of successful, failed and planned jobs."""
        with self._lock:
            done = sum(map(len, self._durations.values()))
            return done, self._failed.total(), self._planned.total()

    def seconds_left(self) -> float | None:
        """Return the estimated seconds left for the run.

        The estimate assumes that a waiting job takes as long as the completed jobs of its rule on
        average, and that as many jobs run in parallel as now. It is None until at least one job of
        each remaining rule has completed; a running job that reports iterations needs no average.
        """
        with self._lock:
            now, seconds = self.clock(), 0.0
            means = {rule: sum(times) / len(times) for rule, times in self._durations.items()}
            running_by_rule = Counter(job.rule for job in self._running.values())
            for rule, planned in self._planned.items():
                ended = len(self._durations.get(rule, [])) + self._failed[rule]
                if (waiting := planned - ended - running_by_rule[rule]) > 0:
                    if rule not in means:
                        return None
                    seconds += waiting * means[rule]
            for job in self._running.values():
                left = job.seconds_left(now)
                if left is None and job.rule not in means:
                    return None
                seconds += max(0.0, means[job.rule] - (now - job.started)) if left is None else left
            return seconds / max(1, len(self._running))
