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

DEVICES = Path("/dev")
"""Where cards are files (``nvidia0``); all there is in sandboxes that hide the driver's list."""

_WSL = Path("/usr/lib/wsl/lib/libcuda.so.1")
"""Windows' Linux has cards if this is there, and tells nowhere how many."""

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
    environment: Mapping[str, str] = os.environ, driver: Path = DRIVER, devices: Path = DEVICES
) -> tuple[Card, ...]:
    """The cards a process may use, in CUDA's order; none on a machine without.

    Args:
        environment: of the process.
        driver: see ``DRIVER``.
        devices: see ``DEVICES``.
    """
    there = _listed(driver) or _by_file(devices)
    given = environment.get(VISIBLE)
    of_node = None
    if given is None and "SLURM_JOB_ID" in environment:
        # Set by the same plugin as the variable above, which a script may have unset. They are the
        # node's numbers, though CUDA may count only the job's cards: a UUID means the same to both.
        of_node = environment.get("SLURM_STEP_GPUS", environment.get("SLURM_JOB_GPUS"))
    if given is None and of_node is None:
        return tuple(there)
    surest = {card.identity: card for card in there}
    cards: dict[str, Card] = {}
    for entry in (part.strip() for part in (of_node or given or "").split(",")):
        card = _named(entry, there)
        if card is None:
            break
        cards.setdefault(
            card.identity, card if of_node is None else surest.get(card.identity, card)
        )
    return tuple(cards.values())


def _named(entry: str, there: list[Card]) -> Card | None:
    """The card that an entry of CUDA_VISIBLE_DEVICES means; None if it means none.

    Indices are taken in the order of the bus, which is CUDA's wherever all cards are of one kind.
    Where the cards are not known, every well-formed entry is taken for one.
    """
    if not _ENTRY.fullmatch(entry):
        return None
    if entry.startswith("MIG-"):
        return Card(entry, entry.replace("/", "-"))
    if entry.isdecimal():
        index = int(entry)
        if not there:
            return Card(entry, f"card-{index}")
        return Card(entry, there[index].identity) if index < len(there) else None
    matching = [card for card in there if card.entry.lower().startswith(entry.lower())]
    if len(matching) == 1:
        return Card(entry, matching[0].identity)
    all_known = there and all(card.entry.startswith("GPU-") for card in there)
    return None if all_known else Card(entry, entry.lower())


def _listed(driver: Path) -> list[Card]:
    """The driver's cards by their place on the bus, which they keep.

    A card's UUID stands there only once somebody has used it; until then it has its number.
    """
    found: list[Card] = []
    for information in sorted(driver.glob("*/information")):
        try:
            text = information.read_text(encoding="ascii", errors="replace")
        except OSError:
            text = ""
        match = re.search(r"GPU UUID:\s*(GPU-[0-9a-fA-F-]+)\s", f"{text}\n")
        found.append(Card(match[1] if match else str(len(found)), information.parent.name))
    return found


def _by_file(devices: Path) -> list[Card]:
    """The cards by their number alone."""
    count = sum(
        re.fullmatch(r"nvidia\d+", path.name) is not None for path in devices.glob("nvidia*")
    )
    if not count and (devices / "dxg").exists() and _WSL.exists():
        count = 1
    return [Card(str(number), f"card-{number}") for number in range(count)]
