"""The process that runs a stage: whether it is to stop, and the seconds and memory it takes."""

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
    """A process that may be asked to stop, by signals or over a worker's line."""

    def __init__(self, cancellation: Cancellation) -> None:
        self.cancellation = cancellation

    @property
    def asked(self) -> str | None:
        """Why to stop, once somebody has asked."""
        return self.cancellation.asked

    def steps(self, iterations: Iterable[int]) -> Iterator[int]:
        """The iterations, until somebody asks to stop."""
        return self.cancellation.steps(iterations)


@contextmanager
def measured(stage: str) -> Iterator[None]:
    """Log what the block took; nothing if it fails."""
    began = time.perf_counter()
    _forget_peaks()
    yield
    usage = ResourceUsage(stage, time.perf_counter() - began, peak_of_ram(), _peak_of_card())
    log.info("%s", usage, extra={"event": usage})


def _forget_peaks() -> None:
    """Have the peaks begin anew: a worker's earlier stages may have needed more."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", "ascii")
    if (torch := sys.modules.get("torch")) and torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()


def peak_of_ram() -> int | None:
    """Bytes of RAM that this process has held at most, as Linux counts them."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/self/status").read_text("utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return None


def _peak_of_card() -> int | None:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    return int(torch.cuda.max_memory_allocated())
