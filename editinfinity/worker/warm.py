"""The worker's cache of models: each is read from disk once, then kept on the GPU or in RAM.

Each job gets its own copy of a model's modules, which shares the cached tensors: modules are
copied, weights are not. Changes such as adapters, ``train()`` or drop path therefore end with the
job, and the next job gets the model as it was read.
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

from editinfinity.worker.memory import MemoryBudget

log = logging.getLogger(__name__)

Model = TypeVar("Model")


@dataclass
class _Kept:
    """A cached model.

    Attributes:
        model: the model as it was read.
        size: total size of its tensors, in bytes.
        on_card: whether it is on the job's device; None during a move, or after a failed one.
        given: weak references to the copies that the running job still uses.
        check: fingerprint of its tensors.
        used: whether the running job has loaded it.
    """

    model: Any
    size: int
    on_card: bool | None = True
    given: weakref.WeakSet = field(default_factory=weakref.WeakSet)
    check: int = 0
    used: bool = True


class WarmModels:
    """Loads models through loader functions, and caches them.

    Args:
        memory: the limits on GPU memory and RAM.
    """

    def __init__(self, memory: MemoryBudget) -> None:
        self.memory = memory
        self._kept: dict[Any, _Kept] = {}  # least recently used first

    def load(self, loader: Callable[..., Model], *arguments: object) -> Model:
        """Return what ``loader(*arguments)`` returns. Only the first call reads from disk."""
        key = (f"{loader.__module__}.{loader.__qualname__}", arguments)
        kept = self._kept.pop(key, None)
        if kept is None:
            kept = self._read(loader, arguments)
            self._kept[key] = kept
            self._make_room(0, but=kept)
        else:
            self._kept[key] = kept
            if not kept.on_card:
                self._make_room(kept.size, but=kept)
                self._place(kept, on_card=True)
        kept.used = True
        return self._copy(kept)

    def finish_job(self) -> None:
        """Clean up after a job, and drop models whose weights the job has modified."""
        gc.collect()
        for key, kept in list(self._kept.items()):
            if kept.used and kept.on_card and kept.check != _fingerprint(_tensors(kept.model)):
                log.warning("%s: a job wrote into the weights; they will be read again", key[0])
                del self._kept[key]
            kept.used = False

    def park_all(self) -> None:
        """Move all models off the GPU, for a job that ran out of GPU memory."""
        for kept in list(self._kept.values()):
            self._park(kept)

    def _read(self, loader: Callable[..., Model], arguments: tuple[object, ...]) -> _Kept:
        try:
            model = loader(*arguments)
        except torch.OutOfMemoryError:
            self.park_all()
            model = loader(*arguments)
        tensors = list(_tensors(model))
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        log.info("%s: read, %.1f MB to keep", loader.__name__, size / 1e6)
        return _Kept(model, size, check=_fingerprint(tensors))

    def _make_room(self, wanted: int, but: _Kept | None = None) -> None:
        """Park unused models until ``wanted`` more bytes fit, least recently used first.

        The model ``but`` is never parked: one model may be on the GPU whatever its size.
        """
        gc.collect()  # copies that a job has dropped may be in reference cycles
        for kept in list(self._kept.values()):
            if kept is not but and not kept.given and not self._fits(wanted):
                self._park(kept)

    def _fits(self, wanted: int) -> bool:
        budget = self.memory.card_budget
        if budget is None:
            return self.memory.ram_left() >= wanted
        return wanted + sum(kept.size for kept in self._kept.values() if kept.on_card) <= budget

    def _park(self, kept: _Kept) -> None:
        """Move a model from the GPU to RAM, or drop it if RAM is short or models run on the CPU."""
        if kept.on_card is False or not kept.size:
            return
        if self.memory.card_budget is None or self.memory.ram_left() < kept.size:
            self._kept = {key: other for key, other in self._kept.items() if other is not kept}
        else:
            self._place(kept, on_card=False)

    def _place(self, kept: _Kept, on_card: bool) -> None:
        kept.on_card = None
        for module in _modules(kept.model):
            self.memory.move(module, on_card)
        kept.on_card = on_card

    def _copy(self, kept: _Kept) -> Any:
        """Return a copy of the model with its own modules but shared tensors."""
        if not isinstance(kept.model, nn.Module):
            return kept.model  # a text encoder, which no job modifies
        shared = {id(tensor): tensor for tensor in _tensors(kept.model)}
        given = copy.deepcopy(kept.model, shared)
        kept.given.add(given)
        return given


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


def _fingerprint(tensors: Iterable[Tensor]) -> int:
    """Return a number that changes when a weight changes, however it was modified."""
    widths = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    with torch.no_grad():
        sums = [
            tensor.detach().contiguous().view(widths[tensor.element_size()]).sum(dtype=torch.int64)
            for tensor in tensors
            if tensor.numel() and not tensor.is_complex()
        ]
        return hash(tuple(torch.stack(sums).tolist())) if sums else 0
