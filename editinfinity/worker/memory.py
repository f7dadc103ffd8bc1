"""Limits on the GPU memory and RAM that the worker's cached models may use."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

CARD_SHARE = 0.25
"""Fraction of a GPU's memory that cached models may use. The rest is for the job. So a small GPU
holds only the model that is running, a large one all three models."""

LARGE_TEXT_ENCODER = 2 * 2**30
"""Size in bytes from which a text encoder on a CPU is dropped before another model is read.

flan-t5-xl would double what a laptop needs, and is used only while prompts are encoded.
"""

RAM_RESERVE = 2**30
"""Bytes of RAM to leave free for everything else."""

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")
"""Folder in which Linux shows a container its own limits (cgroup v2)."""


class MemoryBudget:
    """The memory available for cached models of a device: GPU memory and RAM, or RAM only.

    Attributes:
        card_budget: bytes of GPU memory that cached models may use; None if models run on the CPU.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.card_budget: int | None = None
        if device.type == "cuda":
            total = torch.cuda.get_device_properties(device).total_memory
            self.card_budget = int(total * CARD_SHARE)

    def ram_left(self) -> int:
        """Return the bytes of RAM that the machine or the container can still give to models."""
        left = [2**63]
        for line in _lines(MEMINFO):
            name, _, value = line.partition(":")
            if name == "MemAvailable":
                left.append(int(value.split()[0]) * 1024)
        limit = "".join(_lines(CGROUP / "memory.max"))
        if limit.isdecimal():
            used = int("".join(_lines(CGROUP / "memory.current")) or 0)
            # Cached pages of files count as used, but the kernel frees them when memory is needed.
            statistics = dict(line.split() for line in _lines(CGROUP / "memory.stat"))
            left.append(int(limit) - used + int(statistics.get("inactive_file", 0)))
        return min(left) - RAM_RESERVE

    def move(self, module: nn.Module, to_card: bool) -> None:
        """Move a module's tensors in place. Moving to the CPU also releases the GPU memory."""
        module.to(self.device if to_card else "cpu")
        if not to_card:
            torch.cuda.empty_cache()


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").splitlines()
    except OSError:
        return []
