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


class MemoryBudget:
    """What there is to keep the models of a device in: a card and RAM, or RAM alone.

    Attributes:
        card_budget: bytes of the card that kept models may fill; None where models run from RAM.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.card_budget: int | None = None
        if device.type == "cuda":
            total = torch.cuda.get_device_properties(device).total_memory
            self.card_budget = int(total * CARD_SHARE)

    def ram_left(self) -> int:
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

    def move(self, module: nn.Module, to_card: bool) -> None:
        """Move the tensors in place; the card's memory is free for others afterwards."""
        module.to(self.device if to_card else "cpu")
        if not to_card:
            torch.cuda.empty_cache()


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").splitlines()
    except OSError:
        return []
