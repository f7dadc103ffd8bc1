"""The GPUs a job may use, without importing torch: what CUDA_VISIBLE_DEVICES and SLURM leave it.

Rules of CUDA_VISIBLE_DEVICES: CUDA C++ Programming Guide, "CUDA Environment Variables". Entries are
indices, (beginnings of) UUIDs or MIG names; the first that is none ends the list.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

VISIBLE = "CUDA_VISIBLE_DEVICES"

DRIVER = Path("/proc/driver/nvidia/gpus")
"""Where the driver lists the cards, a folder each, named by the card's place on the bus."""

_ENTRY = re.compile(r"\d+|GPU-[0-9a-fA-F-]+|MIG-[0-9A-Za-z/-]+")


@dataclass(frozen=True)
class Card:
    """A GPU, or a slice of one.

    Attributes:
        entry: what CUDA_VISIBLE_DEVICES is set to, so that a process sees this card alone.
        identity: the same for every way to name it, safe as a file name.
    """

    entry: str
    identity: str


def visible_cards(
    environment: Mapping[str, str] = os.environ, driver: Path = DRIVER
) -> tuple[Card, ...]:
    """The cards a process may use, in CUDA's order; none on a machine without.

    Args:
        environment: of the process.
        driver: see ``DRIVER``.
    """
    uuids = _uuids(driver)
    given = environment.get(VISIBLE)
    if given is None and "SLURM_JOB_ID" in environment:
        # Set by the same plugin as the variable above, which a script may have unset.
        given = environment.get("SLURM_STEP_GPUS", environment.get("SLURM_JOB_GPUS"))
    if given is None:
        return tuple(Card(uuid, uuid) for uuid in uuids)
    entries: list[str] = []
    for entry in (part.strip() for part in given.split(",")):
        if not _ENTRY.fullmatch(entry):
            break
        entries.append(entry)
    cards = [Card(entry, _identity(entry, uuids)) for entry in entries]
    return tuple({card.identity: card for card in cards}.values())


def _identity(entry: str, uuids: list[str]) -> str:
    """One name for a card that may be called by its index or by a part of its UUID.

    Indices are taken in the order of the bus, which is CUDA's wherever all cards are of one kind.
    """
    if entry.isdecimal():
        index = int(entry)
        return uuids[index] if index < len(uuids) else f"card-{index}"
    if entry.startswith("GPU-"):
        matching = [uuid for uuid in uuids if uuid.lower().startswith(entry.lower())]
        return matching[0] if len(matching) == 1 else entry.lower()
    return entry.replace("/", "-")


def _uuids(driver: Path) -> list[str]:
    """UUIDs of the driver's cards by their place on the bus."""
    found = []
    for information in sorted(driver.glob("*/information")):
        try:
            text = information.read_text(encoding="ascii", errors="replace")
        except OSError:
            continue
        if match := re.search(r"GPU UUID:\s*(GPU-[0-9a-fA-F-]+)", text):
            found.append(match[1])
    return found
