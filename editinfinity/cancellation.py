"""Cancellation: stop on a signal, on preemption by a cluster, or when the workflow has exited.

This module does not import torch. Work that can only be interrupted between two steps finishes the
current step first (:meth:`Cancellation.steps`). All other work stops immediately, and files that
are still being written are discarded.
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

_SECOND_SIGNAL_AFTER = 5.0
"""Seconds after the first signal from which another signal interrupts a running step."""


def cancel_timers() -> None:
    """End this process's timers, for which it would wait when it exits.

    Snakemake starts one each time it selects jobs, if their rate is limited.
    """
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.cancel()


class Stopped(BaseException):
    """Raised when the work stops because of a stop request.

    Derives from ``BaseException``, like ``KeyboardInterrupt``, so that no ``except Exception``
    handler on the call stack mistakes it for an error of a file or a library.
    """


class Cancellation:
    """Converts SIGTERM, SIGINT and requests from other threads into :class:`Stopped`.

    Attributes:
        stop_reason: reason of the stop request; None until there is one.
        signalled: whether a signal arrived from outside this process.
    """

    def __init__(self) -> None:
        self.stop_reason: str | None = None
        self.signalled = False
        self._deferred = True
        self._since = 0.0
        self._reason: str | None = None

    @contextmanager
    def handling_signals(self) -> Iterator[None]:
        """Handle SIGTERM and SIGINT inside the block. Works in the main thread only."""
        numbers = (signal.SIGTERM, signal.SIGINT)
        before = [signal.signal(number, self._on_signal) for number in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Raise ``Stopped`` at once on a request inside the block; forget earlier requests."""
        self.stop_reason = None
        self._deferred = False
        try:
            yield
        finally:
            self._deferred = True

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Let a request only set ``stop_reason``; the code in the block must check it.

        A second signal that arrives a few seconds after the first one raises ``Stopped`` anyway.
        """
        before, self._deferred = self._deferred, True
        try:
            yield
        finally:
            self._deferred = before

    def steps(self, steps: Iterable[Step]) -> Iterator[Step]:
        """Yield the steps until a stop is requested; a step that has begun is completed."""
        with self.deferred():
            for step in steps:
                if self.stop_reason is not None:
                    return
                yield step

    def request_stop(self, reason: str) -> None:
        """Request a stop from another thread."""
        self._reason = reason
        os.kill(os.getpid(), signal.SIGTERM)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        reason, self._reason = self._reason, None
        self.signalled = self.signalled or reason is None
        if self.stop_reason is None:
            self.stop_reason, self._since = reason or signal.Signals(number).name, now
        if not self._deferred or now - self._since > _SECOND_SIGNAL_AFTER:
            raise Stopped(f"stopped ({self.stop_reason})")


def run_handler_in_thread(number: int) -> None:
    """Run the current handler of a signal in a separate thread from now on.

    Snakemake's SIGTERM handler acquires a lock that Snakemake's main thread holds while it selects
    the next jobs. Python runs signal handlers in the main thread, so the handler would deadlock.
    Does nothing outside the main thread, or if the signal has no Python handler.
    """
    handler = signal.getsignal(number)
    if not callable(handler) or threading.current_thread() is not threading.main_thread():
        return

    def run_in_thread(*arguments: object) -> None:
        threading.Thread(target=handler, args=arguments, daemon=True).start()

    signal.signal(number, run_in_thread)
