"""How much memory kept models may fill, on a card and in RAM."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

CARD_SHARE = 0.25
"""Of a card's memory. The rest belongs to the job: a small card holds only the model that runs, a
large one all three."""

RAM_RESERVE = 2**30
"""Bytes of RAM left to everything else."""

MACHINE = Path("/proc/meminfo")
GROUP = Path("/sys/fs/cgroup")
"""Where Linux shows a container its own limits."""


class RamOnly:
    """Models that run on the CPU."""

    def card_budget(self) -> int | None:
        """No card."""
        return None

    def ram_left(self) -> int:
        """See ``ram_left``."""
        return ram_left()

    def move(self, module: nn.Module, to_card: bool) -> None:
        """Nowhere to go."""


class CardAndRam(RamOnly):
    """Models that run on a card, and wait in RAM."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._budget = int(torch.cuda.get_device_properties(device).total_memory * CARD_SHARE)

    def card_budget(self) -> int | None:
        """A fixed share of the card."""
        return self._budget

    def move(self, module: nn.Module, to_card: bool) -> None:
        """Move the tensors in place; the card's memory is free for others afterwards."""
        module.to(self.device if to_card else "cpu")
        if not to_card:
            torch.cuda.empty_cache()


def ram_left() -> int:
    """Bytes that models may still fill: what the machine, or the container, has available."""
    left = [2**63]
    for line in _lines(MACHINE):
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            left.append(int(value.split()[0]) * 1024)
    limit = "".join(_lines(GROUP / "memory.max"))
    if limit.isdecimal():
        used = int("".join(_lines(GROUP / "memory.current")) or 0)
        # Files read lately count as used until somebody needs the memory.
        facts = dict(line.split() for line in _lines(GROUP / "memory.stat"))
        left.append(int(limit) - used + int(facts.get("inactive_file", 0)))
    return min(left) - RAM_RESERVE


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").splitlines()
    except OSError:
        return []
