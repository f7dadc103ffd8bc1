"""One job at a time on a card: slots, leased by locks that the kernel gives back.

``gpu`` is only a number to Snakemake, which never says which card a job may use. So every job takes
the lock of one slot before it touches a card. Slots are files in the user's private folder, shared
by all workflows of the user on this machine; a lock dies with whoever works under it, so a killed
job frees its card at once, and not before.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from editinfinity.locks import Lock
from editinfinity.worker.cards import Card

log = logging.getLogger(__name__)

_PAUSE = 0.1
"""Seconds between two looks at slots that are all taken."""


@dataclass(frozen=True)
class Slot:
    """A place for one job: a card, or a share of the CPU.

    Attributes:
        name: safe as a file name.
        card: the card; None for the CPU.
    """

    name: str
    card: Card | None = None


@dataclass(frozen=True)
class Lease:
    """A slot that is this job's until the lock is released."""

    slot: Slot
    lock: Lock


def slots_of(device: str, cards: Sequence[Card], jobs_at_once: int) -> list[Slot]:
    """The slots that serve a setting.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; of ``cuda:N`` the N-th visible card.
        cards: the visible ones.
        jobs_at_once: how many jobs may share the CPU where no card is used.

    Returns:
        At least one; CPU slots where the device is a card that is not there, which the stage will
        say.
    """
    kind, _, index = device.partition(":")
    if kind != "cpu" and cards and not index:
        return [Slot(card.identity, card) for card in cards]
    if kind != "cpu" and index.isdecimal() and int(index) < len(cards):
        card = cards[int(index)]
        return [Slot(card.identity, card)]
    return [Slot(f"cpu-{number}") for number in range(max(1, jobs_at_once))]


def lease_folder(private: Path, environment: Mapping[str, str] = os.environ) -> Path:
    """Where the locks of cards lie; made if missing.

    SLURM keeps the jobs of a node apart, and may number each job's cards from 0: inside one, only
    its own processes share cards.
    """
    job = environment.get("SLURM_JOB_ID", "")
    folder = private / (f"cards-slurm-{job}" if job.isdecimal() else "cards")
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


@contextmanager
def lease(slots: Sequence[Slot], folder: Path, first: Callable[[Slot], bool]) -> Iterator[Lease]:
    """Take a free slot; wait for one where all are taken.

    Args:
        slots: to choose from.
        folder: of the locks.
        first: slots to try before the others (those with a warm model).
    """
    told = False
    while True:
        for slot in sorted(slots, key=lambda slot: not first(slot)):
            lock = Lock.take(folder / f"{slot.name}.lock")
            if lock is not None:
                with lock:
                    yield Lease(slot, lock)
                return
        if not told:
            log.info("waiting for one of %d slots to be free", len(slots))
            told = True
        time.sleep(_PAUSE)
