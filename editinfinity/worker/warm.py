"""The worker's cache of models: each is read from disk once, then kept on the GPU or in RAM.

Each job gets its own copy of a model's modules, which shares the cached tensors: modules are
copied, weights are not. Changes such as adapters, ``train()`` or drop path therefore end with the
job, and the next job gets the model as it was read.

A worker has half a million Python objects, most of them of the libraries it has imported. Going
through all of them takes Python's garbage collector a quarter of a second, which would be spent
after every job. So whatever exists when a model has been read is exempted (``gc.freeze``), until
memory is short.
"""

from __future__ import annotations

import copy
import gc
import logging
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from editinfinity.worker.memory import LARGE_TEXT_ENCODER, MemoryBudget

log = logging.getLogger(__name__)

Model = TypeVar("Model")

_MAX_KEPT = 4
"""Number of objects kept for later jobs: of trainings, the last ones of as many photographs."""


@dataclass
class _Cached:
    """A cached model.

    Attributes:
        model: the model as it was read.
        size: total size of its tensors, in bytes.
        on_card: whether it is on the job's device; None during a move, or after a failed one.
        copies: weak references to the copies that the running job still uses; while there are any,
            the model stays on the GPU.
        checksum: of its tensors, as they were read.
        used: whether the running job has loaded it.
        in_ram: whether it stays in RAM although models run on a GPU; each job puts on the GPU what
            it needs.
    """

    model: Any
    size: int
    on_card: bool | None = True
    copies: weakref.WeakSet = field(default_factory=weakref.WeakSet)
    checksum: int = 0
    used: bool = True
    in_ram: bool = False


class WarmModels:
    """Loads models through loader functions, and caches them.

    Args:
        memory: the limits on GPU memory and RAM.
    """

    def __init__(self, memory: MemoryBudget) -> None:
        self.memory = memory
        self._cache: dict[Any, _Cached] = {}  # least recently used first
        self._kept: dict[str, object] = {}
        self._finished: set[str] = set()

    def load(self, loader: Callable[..., Model], *arguments: object) -> Model:
        """Return what ``loader(*arguments)`` returns. Only the first call reads from disk."""
        key = (f"{loader.__module__}.{loader.__qualname__}", arguments)
        entry = self._cache.pop(key, None)
        if entry is None:
            self._drop_large_text_encoders()
            entry = self._read(loader, arguments)
            self._cache[key] = entry
            self._make_room(0, exempt=entry)
            gc.collect()
            gc.freeze()
        else:
            self._cache[key] = entry
            if not entry.on_card:
                self._make_room(entry.size, exempt=entry)
                self._move(entry, on_card=True)
        entry.used = True
        return self._copy(entry)

    def keep(self, name: str, value: object) -> None:
        """Keep an object for a later job, unless memory gets short; see ``Host.keep``."""
        self._kept.pop(name, None)
        self._kept[name] = value
        while len(self._kept) > _MAX_KEPT:
            del self._kept[next(iter(self._kept))]

    def take(self, name: str) -> object | None:
        """Return an object that an earlier job has kept, and forget it; None if there is none."""
        return self._kept.pop(name, None)

    def finish_job(self, stage: str) -> None:
        """Clean up after a job of a stage, and drop models whose weights the job has modified."""
        gc.collect()
        if stage not in self._finished:
            # What its first job has imported stays, and need not be searched after each job.
            self._finished.add(stage)
            gc.freeze()
        for key, entry in list(self._cache.items()):
            if entry.used and entry.on_card and entry.checksum != self._checksum_of(entry):
                log.warning("%s: a job changed the cached weights; they will be read again", key[0])
                del self._cache[key]
                self._free_memory()
            entry.used = False

    def park_all(self) -> None:
        """Move all models off the GPU, for a job that ran out of GPU memory."""
        self._free_memory()
        for entry in list(self._cache.values()):
            self._park(entry)

    def _read(self, loader: Callable[..., Model], arguments: tuple[object, ...]) -> _Cached:
        try:
            model = loader(*arguments)
        except torch.OutOfMemoryError:
            self.park_all()
            model = loader(*arguments)
        tensors = list(_tensors(model))
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        log.info("%s: read %.1f MB of weights, now cached", loader.__name__, size / 1e6)
        entry = _Cached(model, size, in_ram=getattr(model, "rests_in_ram", False))
        entry.checksum = self._checksum_of(entry)
        return entry

    def _checksum_of(self, entry: _Cached) -> int:
        """Return the checksum; 0 for a model in RAM, whose jobs get copies of its weights."""
        return 0 if entry.in_ram else _checksum(_tensors(entry.model))

    def _drop_large_text_encoders(self) -> None:
        """Drop large text encoders on a CPU, before another model is read."""
        for entry in list(self._cache.values()):
            is_encoder = not isinstance(entry.model, nn.Module)
            if self.memory.card_budget is None and is_encoder and entry.size >= LARGE_TEXT_ENCODER:
                self._park(entry)
                self._free_memory()

    def _make_room(self, needed: int, exempt: _Cached | None = None) -> None:
        """Park unused models until ``needed`` more bytes fit, least recently used first.

        The model ``exempt`` is never parked: one model may be on the GPU whatever its size.
        """
        if self._fits(needed):
            return
        self._free_memory()
        for entry in list(self._cache.values()):
            if entry is not exempt and not entry.copies and not self._fits(needed):
                self._park(entry)

    def _free_memory(self) -> None:
        """Drop what jobs have kept, and all that nothing refers to any more."""
        self._kept.clear()
        gc.unfreeze()
        gc.collect()  # copies that a job has dropped may be in reference cycles
        gc.freeze()

    def _fits(self, needed: int) -> bool:
        budget = self.memory.card_budget
        if budget is None:
            return self.memory.ram_left() >= needed
        return needed + sum(entry.size for entry in self._cache.values() if entry.on_card) <= budget

    def _park(self, entry: _Cached) -> None:
        """Move a model from the GPU to RAM, or drop it if RAM is short or models run on the CPU."""
        if entry.on_card is False or not entry.size:
            return
        if self.memory.card_budget is None or self.memory.ram_left() < entry.size:
            self._cache = {key: other for key, other in self._cache.items() if other is not entry}
        else:
            self._move(entry, on_card=False)

    def _move(self, entry: _Cached, on_card: bool) -> None:
        entry.on_card = None
        for module in () if entry.in_ram else _modules(entry.model):
            self.memory.move(module, on_card)
        entry.on_card = on_card

    def _copy(self, entry: _Cached) -> Any:
        """Return a copy of the model with its own modules but shared tensors.

        A job may add adapters to its copy. A text encoder, which wraps modules without being one,
        is only read by jobs, so they get the cached object itself.
        """
        if not isinstance(entry.model, nn.Module):
            return entry.model
        shared = {id(tensor): tensor for tensor in _tensors(entry.model)}
        module = copy.deepcopy(entry.model, memo=shared)  # does not copy what the memo has
        entry.copies.add(module)
        return module


def _modules(model: Any) -> Iterator[nn.Module]:
    """Yield the model itself if it is a module, else the modules among its attributes."""
    if isinstance(model, nn.Module):
        yield model
    else:
        yield from (part for part in vars(model).values() if isinstance(part, nn.Module))


def _tensors(model: Any) -> Iterator[Tensor]:
    for module in _modules(model):
        yield from module.parameters()
        yield from module.buffers()


def _checksum(tensors: Iterable[Tensor]) -> int:
    """Return a number that changes when a weight changes, however it was modified."""
    widths = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    with torch.no_grad():
        sums = [
            tensor.detach().contiguous().view(widths[tensor.element_size()]).sum(dtype=torch.int64)
            for tensor in tensors
            if tensor.numel() and not tensor.is_complex()
        ]
        return hash(tuple(torch.stack(sums).tolist())) if sums else 0
