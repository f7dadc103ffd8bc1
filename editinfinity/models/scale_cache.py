"""Key-value caches of the blocks, for sampling one scale after another.

Nothing reads the keys and values of the last scale after its own pass, so they are not cached. If a
device is too small for the caches of all blocks, some are parked in RAM: each is copied to the
device before its block runs. The results are the same.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from editinfinity.compute import free_bytes
from editinfinity.models.attention import KeysValues, attend
from editinfinity.models.transfers import Transfers, spread
from editinfinity.presets import TransformerConfig
from editinfinity.scales import ScaleSchedule

log = logging.getLogger(__name__)

_WORKING = 40
"""Bytes of activations for each token of a scale and channel of the model, measured."""

_RESERVE = 3 * 2**28
"""Bytes for logits, noise, codes, libraries, and gaps between tensors."""


class Workspace:
    """Memory for the keys and values of all tokens, (2, B, heads, L, head width), on the device.

    It is allocated when it is first needed, for the rows of that pass; later passes have no more.
    Blocks use it one after another.
    """

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        self._memory: Tensor | None = None

    def keys_values(self, x: Tensor, heads: int) -> Tensor:
        """Return the memory for the rows of tokens x (B, ·, C)."""
        if self._memory is None:
            self._memory = empty_cache(x, heads, self.tokens)
        return self._memory[:, : len(x)]


class ScaleCache:
    """Key-value cache of one block; an ``AttentionContext``.

    A scale may have fewer rows than the scales before it, which are then the first ones.

    Args:
        lengths: Number of tokens of each scale. Memory for all but the last is allocated at the
            first scale.
        workspace: Memory for the last scale, shared by all blocks.
    """

    def __init__(self, lengths: Sequence[int], workspace: Workspace) -> None:
        self.kept, self.filled = sum(lengths[:-1]), 0
        self.workspace = workspace
        self._cache: Tensor | None = None
        self._current: Tensor | None = None

    def kv_buffer(self, x: Tensor, heads: int) -> KeysValues:
        """Return the memory that follows the tokens processed so far."""
        batch, length, _ = x.shape
        if self._cache is None and self.kept:
            self._cache = empty_cache(x, heads, self.kept)
        kept = None if self._cache is None else self._cache[:, :batch]
        if self.filled + length <= self.kept:
            self._current = kept
        else:
            self._current = self.workspace.keys_values(x, heads)
            if kept is not None:
                self._current.narrow(3, 0, self.filled).copy_(kept.narrow(3, 0, self.filled))
        assert self._current is not None
        keys, values = self._current.narrow(3, self.filled, length)
        return keys, values

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Append the keys and values of the next scale, and attend to all scales so far."""
        cache, length = self._current, k.shape[2]
        if cache is None:
            raise ValueError("call kv_buffer before attend")
        for target, new in zip(cache.narrow(3, self.filled, length), (k, v), strict=True):
            if target.data_ptr() != new.data_ptr():  # not yet written into the cache
                target.copy_(new)
        self.filled += length
        keys, values = cache.narrow(3, 0, self.filled)
        return attend(q, keys, values)


class ParkedCaches:
    """Memory of the caches that are parked in RAM, for the blocks that use it in turn.

    While one block runs, the cache of the next one is copied to the device.

    Args:
        lengths: Number of tokens of each scale.
        blocks: Number of the blocks.
        device: The device on which the blocks run.
    """

    def __init__(self, lengths: Sequence[int], blocks: int, device: torch.device) -> None:
        self.kept, self.device = sum(lengths[:-1]), device
        self.transfers = Transfers(device)
        self.filled = [0] * blocks
        self._parked: list[list[Tensor]] = [[] for _ in range(blocks)]
        self._workspaces = [Workspace(sum(lengths)) for _ in range(min(2, blocks))]
        self._arrivals: list[Any] = [None] * len(self._workspaces)
        self._held: list[object] = [None] * len(self._workspaces)

    def of(self, block: int) -> ParkedScaleCache:
        """Return the cache of a block."""
        return ParkedScaleCache(self, block)

    def fetch(self, block: int, x: Tensor, heads: int) -> Tensor:
        """Return memory on the device that holds the block's cache, and start fetching the next."""
        for workspace in self._workspaces:
            workspace.keys_values(x, heads)
        self._copy_to_device(block, x, heads)
        self.transfers.wait_for(self._arrivals[block % 2])
        following = (block + 1) % len(self.filled)
        if following % 2 != block % 2 and self.filled[following] <= self.kept:
            self._copy_to_device(following, x, heads)
        return self._workspaces[block % 2].keys_values(x, heads)

    def park(self, block: int, cache: Tensor, length: int) -> None:
        """Copy the keys and values of the next ``length`` tokens from the device to RAM."""
        start, self.filled[block] = self.filled[block], self.filled[block] + length
        if self.filled[block] > self.kept:
            return  # the last scale
        rows = _rows(cache)
        if not self._parked[block]:
            pinned = self.device.type == "cuda"
            self._parked[block] = [
                torch.empty(self.kept, *row.shape[1:], dtype=row.dtype, pin_memory=pinned)
                for row in rows
            ]
        self.transfers.start(
            (parked.narrow(0, start, length), row.narrow(0, start, length))
            for parked, row in zip(self._parked[block][: len(rows)], rows, strict=True)
        )

    def _copy_to_device(self, block: int, x: Tensor, heads: int) -> None:
        filled, slot = self.filled[block], block % 2
        if self._held[slot] == (block, filled):
            return
        rows = _rows(self._workspaces[slot].keys_values(x, heads))
        parked = self._parked[block][: len(rows)] or rows  # nothing is to be copied at first
        self._arrivals[slot] = self.transfers.start(
            (row.narrow(0, 0, filled), source.narrow(0, 0, filled))
            for row, source in zip(rows, parked, strict=True)
            if filled
        )
        self._held[slot] = (block, filled)


class ParkedScaleCache:
    """Key-value cache of one block that is kept in RAM; an ``AttentionContext``."""

    def __init__(self, caches: ParkedCaches, block: int) -> None:
        self.caches, self.block = caches, block
        self._current: Tensor | None = None

    def kv_buffer(self, x: Tensor, heads: int) -> KeysValues:
        """See :meth:`ScaleCache.kv_buffer`."""
        self._current = self.caches.fetch(self.block, x, heads)
        keys, values = self._current.narrow(3, self.caches.filled[self.block], x.shape[1])
        return keys, values

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """See :meth:`ScaleCache.attend`."""
        cache, start, length = self._current, self.caches.filled[self.block], k.shape[2]
        if cache is None:
            raise ValueError("call kv_buffer before attend")
        for target, new in zip(cache.narrow(3, start, length), (k, v), strict=True):
            if target.data_ptr() != new.data_ptr():
                target.copy_(new)
        self.caches.park(self.block, cache, length)
        keys, values = cache.narrow(3, 0, start + length)
        return attend(q, keys, values)


def scale_caches(
    config: TransformerConfig,
    schedule: ScaleSchedule,
    rows: int,
    dtype: torch.dtype,
    device: torch.device,
) -> list[ScaleCache | ParkedScaleCache]:
    """Return an empty cache for every block, parked in RAM where the device has no room for it.

    Args:
        config: Shape of the transformer.
        schedule: The scales.
        rows: Number of texts.
        dtype: Dtype of the keys and values.
        device: The device on which the transformer runs.
    """
    parked = caches_to_park(config, schedule, rows, dtype, device)
    if parked:
        log.info("keys and values of %d of %d blocks wait in RAM", parked, config.depth)
    return make_caches(config.depth, schedule.lengths, parked, device)


def make_caches(
    blocks: int, lengths: Sequence[int], parked: int = 0, device: torch.device | None = None
) -> list[ScaleCache | ParkedScaleCache]:
    """Return an empty cache for every block, ``parked`` of which are kept in RAM."""
    workspace = Workspace(sum(lengths))
    caches: list[Any] = [ScaleCache(lengths, workspace) for _ in range(blocks)]
    in_ram = ParkedCaches(lengths, parked, device or torch.device("cpu")) if parked else None
    for position, block in enumerate(spread(parked, blocks)):
        assert in_ram is not None
        caches[block] = in_ram.of(position)
    return caches


def caches_to_park(
    config: TransformerConfig,
    schedule: ScaleSchedule,
    rows: int,
    dtype: torch.dtype,
    device: torch.device,
) -> int:
    """Return the number of blocks whose cache does not fit on a GPU; 0 on a CPU."""
    if device.type != "cuda":
        return 0
    per_block = sum(schedule.lengths[:-1]) * _bytes_of_a_token(config, rows, dtype)
    spare = free_bytes(device) - least_sampling_bytes(config, schedule, rows, dtype)
    if spare >= config.depth * per_block:
        return 0
    return config.depth - max(0, spare // per_block)


def least_sampling_bytes(
    config: TransformerConfig, schedule: ScaleSchedule, rows: int, dtype: torch.dtype
) -> int:
    """Return the bytes on the device for sampling, without weights, if all caches are parked."""
    workspaces = 3 * schedule.tokens * _bytes_of_a_token(config, rows, dtype)
    return workspaces + _WORKING * rows * max(schedule.lengths) * config.width + _RESERVE


def all_sampling_bytes(
    config: TransformerConfig, schedule: ScaleSchedule, rows: int, dtype: torch.dtype
) -> int:
    """Return the bytes on the device for sampling, without weights, if no cache is parked."""
    per_block = sum(schedule.lengths[:-1]) * _bytes_of_a_token(config, rows, dtype)
    return config.depth * per_block + least_sampling_bytes(config, schedule, rows, dtype)


def _bytes_of_a_token(config: TransformerConfig, rows: int, dtype: torch.dtype) -> int:
    """Return the bytes of a token's keys and values in one block."""
    return 2 * rows * config.width * dtype.itemsize


def empty_cache(x: Tensor, heads: int, tokens: int) -> Tensor:
    """Return memory (2, B, heads, tokens, head width) for keys and values of x (B, ·, C)."""
    batch, _, width = x.shape
    return x.new_empty(2, batch, tokens, heads, width // heads).transpose(2, 3)


def _rows(cache: Tensor) -> list[Tensor]:
    """Return keys and values of each row of the batch, each (tokens, heads, head width)."""
    return [part for row in cache.transpose(2, 3).unbind(1) for part in row.unbind(0)]
