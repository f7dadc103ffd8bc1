"""Slots that limit each GPU to one job at a time, leased through file locks.

Snakemake only counts its ``gpu`` resource and never says which GPU a job may use. So every job
takes the lock of one slot before it uses a GPU. The lock files are in the user's private folder,
shared by all workflows of the user on this machine. The kernel releases a lock when the processes
that hold it end. A killed job therefore frees its GPU at once, and not before it has ended.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from editinfinity.locks import Lock
from editinfinity.worker.cards import Card

log = logging.getLogger(__name__)

_RETRY_PAUSE = 0.02
"""Seconds between two attempts to take a slot while all are taken; the GPU idles as long."""

_TURN_SECONDS = 5.0
"""Seconds after which a turn is no longer waited for, if the job that has it is suspended."""


@dataclass(frozen=True)
class Slot:
    """What one job at a time may use: a GPU, or a share of the CPU.

    Attributes:
        name: unique name, safe as a file name.
        card: the GPU; None for the CPU.
    """

    name: str
    card: Card | None = None


@dataclass(frozen=True)
class Lease:
    """A slot that this job holds until the lock is released.

    Attributes:
        slot: the slot.
        lock: its lock.
        path: file of the lock.
    """

    slot: Slot
    lock: Lock
    path: Path


def slots_of(device: str, cards: Sequence[Card], jobs_at_once: int) -> list[Slot]:
    """Return the slots that can be used with a ``device`` setting.

    Args:
        device: value of the setting; N of ``cuda:N`` is an index into ``cards``.
        cards: the visible GPUs.
        jobs_at_once: how many jobs may share the CPU if no GPU is used.

    Returns:
        At least one slot. Slots without a GPU if the setting names one that does not exist (the
        stage then reports that error), or an accelerator that is not NVIDIA's.
    """
    kind, _, index = device.partition(":")
    is_nvidia = kind in ("auto", "cuda")
    if is_nvidia and cards and not index:
        return [Slot(card.identity, card) for card in cards]
    if is_nvidia and index.isdecimal() and int(index) < len(cards):
        card = cards[int(index)]
        return [Slot(card.identity, card)]
    return [Slot(f"cpu-{number}") for number in range(max(1, jobs_at_once))]


def lease_folder(private: Path, environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of the GPUs' lock files. It is created if missing.

    SLURM gives each job on a node its own GPUs, and may number them from 0 in every job. So each
    SLURM job has a folder of its own: only processes of the same SLURM job share GPUs.
    """
    job = environment.get("SLURM_JOB_ID", "")
    folder = private / (f"cards-slurm-{job}" if job.isdecimal() else "cards")
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


@contextmanager
def lease(slots: Sequence[Slot], folder: Path, prefer: Callable[[Slot], bool]) -> Iterator[Lease]:
    """Take a free slot and yield its lease. Wait if all slots are taken; the first to wait is next.

    It holds a second lock of each slot, ``NAME.next``, until it has one. If chance decided, some
    photographs of a batch would be left behind, and the last one would be trained alone while other
    GPUs idle. Chance only decides which of the others comes after it. While it waits, it updates
    the time of that file; a job that does not is suspended, and the others do not wait for it.

    Args:
        slots: the slots to choose from.
        folder: folder of the lock files.
        prefer: returns True for slots to try before the others (those with a running worker).
    """
    with ExitStack() as turns:
        next_of, logged = dict[Slot, Lock](), False
        while True:
            for turn in next_of.values():
                os.utime(turn.handle)
            for slot in sorted(slots, key=lambda slot: not prefer(slot)):
                path = folder / f"{slot.name}.lock"
                if slot not in next_of:
                    path_of_turn = folder / f"{slot.name}.next"
                    taken = Lock.take(path_of_turn)
                    if taken is not None:
                        next_of[slot] = turns.enter_context(taken)
                    elif time.time() - path_of_turn.stat().st_mtime < _TURN_SECONDS:
                        continue
                lock = Lock.take(path)
                if lock is not None:
                    turns.close()
                    with lock:
                        yield Lease(slot, lock, path)
                    return
            if not logged:
                log.info("waiting until one of %d slots is free", len(slots))
                logged = True
            time.sleep(_RETRY_PAUSE)
