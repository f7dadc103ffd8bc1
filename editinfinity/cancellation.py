"""Being asked to stop: by a signal, a cluster that wants its node back, or a workflow that is gone.

Torch-free. Work that cannot be left off anywhere else than between two of its steps waits for the
next gap (:meth:`Cancellation.steps`); everything else ends where it stands, and files being written
vanish with it.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

Step = TypeVar("Step")

_INSISTING = 5.0
"""Seconds after which a second signal no longer waits for the end of a step."""


class Stopped(BaseException):
    """The work was left off because somebody asked.

    Not an ``Exception``, as ``KeyboardInterrupt`` is none: nothing on the way may take it for a
    fault of a file or a library.
    """


class Cancellation:
    """Turns SIGTERM and SIGINT, and calls from other threads, into :class:`Stopped`.

    Attributes:
        asked: why to stop, once somebody has asked.
        signalled: whether it was a signal from outside.
    """

    def __init__(self) -> None:
        self.asked: str | None = None
        self.signalled = False
        self._patient = True
        self._since = 0.0
        self._reason: str | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take over both signals for a while; in the main thread only."""
        numbers = (signal.SIGTERM, signal.SIGINT)
        before = [signal.signal(number, self._on_signal) for number in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Inside, being asked raises ``Stopped`` at once; what was asked before counts no more."""
        self.asked = None
        self._patient = False
        try:
            yield
        finally:
            self._patient = True

    @contextmanager
    def patience(self) -> Iterator[None]:
        """Inside, being asked only sets ``asked``; whoever is inside looks at it.

        A second signal, some seconds after the first, raises all the same.
        """
        before, self._patient = self._patient, True
        try:
            yield
        finally:
            self._patient = before

    def steps(self, steps: Iterable[Step]) -> Iterator[Step]:
        """The steps, until somebody asks to stop; a step that has begun is finished."""
        with self.patience():
            for step in steps:
                if self.asked is not None:
                    return
                yield step

    def ask(self, reason: str) -> None:
        """Ask from another thread."""
        self._reason = reason
        os.kill(os.getpid(), signal.SIGTERM)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        reason, self._reason = self._reason, None
        self.signalled = self.signalled or reason is None
        if self.asked is None:
            self.asked, self._since = reason or signal.Signals(number).name, now
        if not self._patient or now - self._since > _INSISTING:
            raise Stopped(f"stopped ({self.asked})")


def answer_beside_the_main_thread(number: int) -> None:
    """Run a signal's present handler in a thread of its own from now on.

    Snakemake's for SIGTERM waits for a lock that its main thread, where Python runs handlers, holds
    while it picks the next jobs: it would wait for itself, for ever. Does nothing outside the main
    thread, and where there is no handler.
    """
    handler = signal.getsignal(number)
    if not callable(handler) or threading.current_thread() is not threading.main_thread():
        return

    def answer(*given: object) -> None:
        threading.Thread(target=handler, args=given, daemon=True).start()

    signal.signal(number, answer)
