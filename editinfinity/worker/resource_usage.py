"""The host of a running stage, in a job or a worker, and its resource usage: time and memory."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from editinfinity.cancellation import Cancellation
from editinfinity.jobs.record import ResourceUsage
from editinfinity.stages.host import Host

log = logging.getLogger(__name__)


class JobHost(Host):
    """The process that runs a stage, as the stage sees it: it may be asked to stop.

    Args:
        cancellation: receives signals, and in a worker the stop requests of its job.
    """

    def __init__(self, cancellation: Cancellation) -> None:
        self.cancellation = cancellation

    @property
    def stop_reason(self) -> str | None:
        """Reason of the request to stop; None if there is none."""
        return self.cancellation.stop_reason

    def steps(self, iterations: Iterable[int]) -> Iterator[int]:
        """Yield the iterations; end early, without an error, once a stop is requested."""
        return self.cancellation.steps(iterations)


@contextmanager
def measured(stage: str) -> Iterator[None]:
    """Log the time and peak memory that the block used. Logs nothing if the block fails."""
    began = time.perf_counter()
    _reset_peaks()
    yield
    usage = ResourceUsage(stage, time.perf_counter() - began, peak_ram(), _peak_card_memory())
    log.info("%s", usage, extra={"event": usage})


def _reset_peaks() -> None:
    """Reset the peak counters, because earlier stages of a worker may have used more memory."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", "ascii")
    if (torch := sys.modules.get("torch")) and torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()


def peak_ram() -> int | None:
    """Return the peak RAM of this process in bytes (Linux's ``VmHWM``); None if unknown."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/self/status").read_text("utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return None


def _peak_card_memory() -> int | None:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    return int(torch.cuda.max_memory_allocated())
