"""Find the GPUs that CUDA_VISIBLE_DEVICES and SLURM allow a job to use, without importing torch.

CUDA_VISIBLE_DEVICES follows the CUDA C++ Programming Guide, "CUDA Environment Variables". Its
entries are indices, UUIDs or prefixes of UUIDs, or MIG names. The first invalid entry ends the
list.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

VISIBLE = "CUDA_VISIBLE_DEVICES"

DRIVER = Path("/proc/driver/nvidia/gpus")
"""Where the driver lists the GPUs: one subfolder per GPU, named by its PCI bus address."""

DEVICES = Path("/dev")
"""Folder with one device file per GPU (``nvidia0``). Some sandboxes hide all but this."""

_WSL = Path("/usr/lib/wsl/lib/libcuda.so.1")
"""WSL (Linux on Windows) has a GPU if this file exists. WSL does not say how many it has."""

_ENTRY = re.compile(r"\d+|GPU-[0-9a-fA-F-]+|MIG-[0-9A-Za-z/-]+")


@dataclass(frozen=True)
class Card:
    """A GPU, or a MIG slice of one.

    Attributes:
        entry: value of CUDA_VISIBLE_DEVICES with which a process sees only this GPU.
        identity: unique name of the GPU, however ``entry`` names it. Safe as a file name.
    """

    entry: str
    identity: str


def visible_cards(
    environment: Mapping[str, str] = os.environ, driver: Path = DRIVER, devices: Path = DEVICES
) -> tuple[Card, ...]:
    """Return the GPUs that a process may use, in CUDA's order. Empty on a machine without GPUs.

    Args:
        environment: environment variables of the process.
        driver: see ``DRIVER``.
        devices: see ``DEVICES``.
    """
    listed = _listed(driver) or _by_file(devices)
    visible = environment.get(VISIBLE)
    slurm_cards = None
    if visible is None and "SLURM_JOB_ID" in environment:
        # SLURM's plugin sets these together with CUDA_VISIBLE_DEVICES, which a script may have
        # unset. They contain the node's indices, but CUDA may number only the job's GPUs. So prefer
        # the UUID below: it names the same GPU in both numberings.
        slurm_cards = environment.get("SLURM_STEP_GPUS", environment.get("SLURM_JOB_GPUS"))
    if visible is None and slurm_cards is None:
        return tuple(listed)
    by_identity = {card.identity: card for card in listed}
    cards: dict[str, Card] = {}
    for entry in (part.strip() for part in (slurm_cards or visible or "").split(",")):
        card = _named(entry, listed)
        if card is None:
            break
        cards.setdefault(
            card.identity, card if slurm_cards is None else by_identity.get(card.identity, card)
        )
    return tuple(cards.values())


def _named(entry: str, listed: list[Card]) -> Card | None:
    """Return the GPU that an entry of CUDA_VISIBLE_DEVICES names, or None if it is invalid.

    Indices count in PCI bus order, which is CUDA's order if all GPUs are of the same model. If the
    machine's GPUs are unknown (``listed`` is empty), every well-formed entry counts as a GPU.
    """
    if not _ENTRY.fullmatch(entry):
        return None
    if entry.startswith("MIG-"):
        return Card(entry, entry.replace("/", "-"))
    if entry.isdecimal():
        index = int(entry)
        if not listed:
            return Card(entry, f"card-{index}")
        return Card(entry, listed[index].identity) if index < len(listed) else None
    matching = [card for card in listed if card.entry.lower().startswith(entry.lower())]
    if len(matching) == 1:
        return Card(entry, matching[0].identity)
    all_known = listed and all(card.entry.startswith("GPU-") for card in listed)
    return None if all_known else Card(entry, entry.lower())


def _listed(driver: Path) -> list[Card]:
    """Return the GPUs that the driver lists, identified by PCI bus address, which does not change.

    The driver knows a GPU's UUID only once a process has used the GPU. Until then its entry is its
    index.
    """
    cards: list[Card] = []
    for information in sorted(driver.glob("*/information")):
        try:
            text = information.read_text(encoding="ascii", errors="replace")
        except OSError:
            text = ""
        match = re.search(r"GPU UUID:\s*(GPU-[0-9a-fA-F-]+)\s", f"{text}\n")
        cards.append(Card(match[1] if match else str(len(cards)), information.parent.name))
    return cards


def _by_file(devices: Path) -> list[Card]:
    """Return the GPUs that have a device file, identified by index only."""
    count = sum(
        re.fullmatch(r"nvidia\d+", path.name) is not None for path in devices.glob("nvidia*")
    )
    if not count and (devices / "dxg").exists() and _WSL.exists():
        count = 1
    return [Card(str(number), f"card-{number}") for number in range(count)]
