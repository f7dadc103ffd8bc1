"""What running a stage took: seconds and memory, as a line of its log that can be read back.

Snakemake's benchmark sees the job's process, which only waits while a worker does the work.
"""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

_MEGA = 10**6
_LINE = re.compile(
    r"(?P<stage>\w+): (?P<seconds>\d+\.\d+) s of work"
    r"(?:, (?P<memory>\d+) MB of memory)?(?:, (?P<card>\d+) MB of the card)?$"
)


@dataclass(frozen=True)
class Work:
    """What one stage took.

    Attributes:
        stage: its name.
        seconds: of the wall clock, imports and reading of models included.
        memory: bytes of RAM that the process held at most while the stage ran, kept models
            included; None where the system does not tell.
        card: bytes of the card's memory at most; None without a card.
    """

    stage: str
    seconds: float
    memory: int | None = None
    card: int | None = None

    def __str__(self) -> str:
        parts = [f"{self.stage}: {self.seconds:.3f} s of work"]
        if self.memory is not None:
            parts.append(f"{self.memory // _MEGA} MB of memory")
        if self.card is not None:
            parts.append(f"{self.card // _MEGA} MB of the card")
        return ", ".join(parts)

    @classmethod
    def parse(cls, line: str) -> Work | None:
        """What a line of a log tells, whatever stands before it; None for any other line."""
        match = _LINE.search(line)
        if match is None:
            return None
        memory, card = (
            None if match[name] is None else int(match[name]) * _MEGA for name in ("memory", "card")
        )
        return cls(match["stage"], float(match["seconds"]), memory, card)


@contextmanager
def measured(stage: str) -> Iterator[None]:
    """Log what the block took; nothing if it fails."""
    began = time.perf_counter()
    _forget_peaks()
    yield
    log.info("%s", Work(stage, time.perf_counter() - began, _peak_of_ram(), _peak_of_card()))


def _forget_peaks() -> None:
    """Have the peaks begin anew: a worker's earlier stages may have needed more."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", "ascii")
    if (torch := sys.modules.get("torch")) and torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()


def _peak_of_ram() -> int | None:
    """Bytes, as Linux counts them."""
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
