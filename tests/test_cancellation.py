"""Signals, and who answers them. ``Cancellation`` itself is tested where it stops something."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from editinfinity.cancellation import run_handler_in_thread


@pytest.fixture(autouse=True)
def usual_handler() -> Iterator[None]:
    before = signal.getsignal(signal.SIGUSR1)
    yield
    signal.signal(signal.SIGUSR1, before)


def test_a_handler_may_wait_for_a_lock_that_the_main_thread_holds() -> None:
    # As Snakemake's scheduler has it: without our thread the handler would never return.
    lock, answered = threading.Lock(), threading.Event()

    def handler(number: int, frame: object) -> None:
        got = lock.acquire(timeout=5)
        if got and number == signal.SIGUSR1:
            answered.set()

    signal.signal(signal.SIGUSR1, handler)
    run_handler_in_thread(signal.SIGUSR1)
    with lock:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert not answered.wait(0.05)
    assert answered.wait(5)


def test_a_signal_without_a_handler_stays_as_it_is() -> None:
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    run_handler_in_thread(signal.SIGUSR1)
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
