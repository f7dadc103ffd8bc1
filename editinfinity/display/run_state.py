"""The state of a run: which jobs are running, how far they are, and how long it may take yet."""

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
    """A job that has begun.

    Attributes:
        rule: its rule.
        case: whose it is; empty for none.
        what: what it does, in words.
        record: its record, if it has a log.
        since: when it began, on the board's clock.
        first, latest: the iterations first and last heard of.
        heard: when the latest was.
    """

    rule: str
    case: str
    what: str
    record: Path | None
    since: float
    first: Iteration | None = None
    latest: Iteration | None = None
    heard: float = 0.0

    @property
    def share(self) -> float | None:
        """How much of a training is done, from 0 to 1; None where nothing counts iterations."""
        if self.first is None or self.latest is None:
            return None
        before = self.first.number - 1
        return (self.latest.number - before) / max(1, self.latest.last - before)

    def left(self, now: float) -> float | None:
        """Seconds that its iterations will yet take; None where nothing is known of them."""
        if self.latest is None or self.latest.rate <= 0:
            return None
        to_come = (self.latest.last - self.latest.number) / self.latest.rate
        return max(0.0, to_come - (now - self.heard))


@dataclass
class RunState:
    """What is known of the run; any thread may tell it things, or look.

    Attributes:
        clock: seconds that only grow.
    """

    clock: Callable[[], float] = time.monotonic
    _planned: Counter[str] = field(default_factory=Counter)
    _took: dict[str, list[float]] = field(default_factory=dict)
    _running: dict[int, RunningJob] = field(default_factory=dict)
    _failed: Counter[str] = field(default_factory=Counter)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self.began = self.clock()

    def plan(self, jobs: Mapping[str, int]) -> None:
        """Rule → how many of its jobs are to run."""
        with self._lock:
            self._planned = Counter(jobs)
            self.began = self.clock()

    def begin(self, number: int, rule: str, case: str, what: str, record: Path | None) -> None:
        """A job has begun, perhaps once more."""
        with self._lock:
            self._running[number] = RunningJob(rule, case, what, record, self.clock())

    def hear(self, number: int, iteration: Iteration) -> None:
        """A running job has done an iteration."""
        with self._lock:
            if job := self._running.get(number):
                first = job.first or iteration
                self._running[number] = replace(
                    job, first=first, latest=iteration, heard=self.clock()
                )

    def end(self, number: int, well: bool = True) -> None:
        """A job has ended."""
        with self._lock:
            job = self._running.pop(number, None)
            if job is None:
                return
            if well:
                self._took.setdefault(job.rule, []).append(self.clock() - job.since)
            else:
                self._failed[job.rule] += 1

    @property
    def running(self) -> dict[int, RunningJob]:
        """Number → job, in the order they began."""
        with self._lock:
            return dict(self._running)

    def counts(self) -> tuple[int, int, int]:
        """How many jobs ended well, how many did not, and how many there are to run."""
        with self._lock:
            done = sum(map(len, self._took.values()))
            return done, self._failed.total(), self._planned.total()

    def left(self) -> float | None:
        """Seconds that the run may yet take.

        Every kind of job that is still to come is taken to last as long as those of its kind did
        on average, and as many to run at once as do now. None until each kind has been seen.
        """
        with self._lock:
            now, seconds = self.clock(), 0.0
            means = {rule: sum(took) / len(took) for rule, took in self._took.items()}
            at_work = Counter(job.rule for job in self._running.values())
            for rule, planned in self._planned.items():
                ended = len(self._took.get(rule, [])) + self._failed[rule]
                if (waiting := planned - ended - at_work[rule]) > 0:
                    if rule not in means:
                        return None
                    seconds += waiting * means[rule]
            for job in self._running.values():
                own = job.left(now)
                if own is None and job.rule not in means:
                    return None
                seconds += max(0.0, means[job.rule] - (now - job.since)) if own is None else own
            return seconds / max(1, len(self._running))
