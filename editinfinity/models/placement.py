"""Put a transformer that rests in RAM on a device, for one piece of work.

As many blocks as fit stay on the device for the whole work. The matrices of the others are copied
to it each time before their block runs, while the block before it runs. The results are the same.
"""

from __future__ import annotations

import copy
import gc
import logging
import math
import weakref
from collections.abc import Sequence
from functools import partial

import torch
from torch import nn

from editinfinity.compute import free_bytes
from editinfinity.models.block import Block
from editinfinity.models.transfers import Transfers, spread
from editinfinity.models.transformer import Infinity

log = logging.getLogger(__name__)

STREAMED = ("sa.mat_qkv", "sa.proj", "ca.mat_q", "ca.proj", "ffn.fc1", "ffn.fc2")
"""The linear layers of a block whose weights only its own ``forward`` uses."""


class BlockStream:
    """Copies the matrices of some blocks from RAM to a device before each run of a block.

    The blocks share two sets of matrices on the device: while one block runs with the first, the
    second is filled for the next block. During training, blocks run forward, then (recomputed, see
    ``inversion/gradient_checkpointing.py``) backward, so the next one is the one before.

    Args:
        blocks: The blocks, in order; their matrices are in RAM. Their layers are changed in place.
        device: The device on which they run.
    """

    def __init__(self, blocks: Sequence[Block], device: torch.device) -> None:
        self.transfers = Transfers(device)
        self._in_ram = [[layer.weight.detach() for layer in _layers(block)] for block in blocks]
        with torch.inference_mode(False):  # training must be able to use these tensors
            self._slots = [
                [torch.empty_like(matrix, device=device) for matrix in self._in_ram[0]]
                for _ in range(min(2, len(blocks)))
            ]
        self._held: list[int | None] = [None] * len(self._slots)
        self._arrivals: list[torch.cuda.Event | None] = [None] * len(self._slots)
        self._current = 0
        for index, block in enumerate(blocks):
            for layer, matrix in zip(_layers(block), self._slots[index % 2], strict=True):
                layer.weight = nn.Parameter(matrix, requires_grad=False)
            block.register_forward_pre_hook(partial(self._before, index))

    def _before(self, index: int, block: nn.Module, arguments: object) -> None:
        """Have the matrices of a block on the device, and start copying those of the next one."""
        self._copy_to_device(index)
        self.transfers.wait_for(self._arrivals[index % 2])
        following = self._following(index)
        if following is not None and following % 2 != index % 2:
            self._copy_to_device(following)
        self._current = index

    def _following(self, index: int) -> int | None:
        """Return the block that probably runs after a block."""
        if index == len(self._in_ram) - 1:
            return None if torch.is_grad_enabled() else 0  # training turns back here
        return index - 1 if 0 < index <= self._current else index + 1

    @torch.no_grad()
    def _copy_to_device(self, index: int) -> None:
        slot = index % 2
        if self._held[slot] != index:
            self._arrivals[slot] = self.transfers.start(
                zip(self._slots[slot], self._in_ram[index], strict=True)
            )
            self._held[slot] = index


def on_device(model: Infinity, device: torch.device, work: int) -> Infinity:
    """Return a transformer that can run on a device.

    Args:
        model: The transformer. If it rests in RAM (see :func:`rest_in_ram`), the result is a copy,
            whose memory on the device is released with it.
        device: The device.
        work: Bytes on the device to leave for the work, besides the weights.
    """
    if not model.rests_in_ram:
        return model
    gc.collect()  # what an earlier piece of work left on the device may be in reference cycles
    tensors = [*model.parameters(), *model.buffers()]
    placed = copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})  # shares the tensors
    streamed = _blocks_to_stream(placed, free_bytes(device) - work) if device.type == "cuda" else 0
    if streamed:
        log.info("the weights of %d of %d blocks wait in RAM", streamed, len(placed.blocks))
    return place(placed, device, streamed)


def place(model: Infinity, device: torch.device, streamed: int) -> Infinity:
    """Put a transformer on a device in place, all but the matrices of ``streamed`` blocks."""
    blocks = [model.blocks[index] for index in spread(streamed, len(model.blocks))]
    if blocks:
        BlockStream(blocks, device)  # lives as long as the blocks, which call it
    model.rests_in_ram, model.is_streamed = False, bool(blocks)
    with torch.inference_mode(False):
        for module in model.modules():
            for name, parameter in module._parameters.items():
                if parameter is not None and parameter.device != device:
                    moved = parameter.detach().to(device, non_blocking=True)
                    module._parameters[name] = nn.Parameter(moved, requires_grad=False)
    return model


def rest_in_ram(model: Infinity) -> Infinity:
    """Pin the weights of a transformer in RAM, so that they are copied fast; return the model.

    What cannot be pinned is copied more slowly.
    """
    if torch.cuda.is_available():
        runtime = torch.cuda.cudart()
        for parameter in model.parameters():
            address, size = parameter.data_ptr(), parameter.nbytes
            if size >= 2**20 and int(runtime.cudaHostRegister(address, size, 0)) == 0:
                # torch's own pinned memory would be rounded up to a power of two.
                weakref.finalize(parameter, runtime.cudaHostUnregister, address)
    model.rests_in_ram = True
    return model


def weight_bytes(model: nn.Module) -> int:
    """Return the bytes of a model's parameters."""
    return sum(parameter.nbytes for parameter in model.parameters())


def _blocks_to_stream(model: Infinity, room: int) -> int:
    """Return how many blocks do not fit on the device, if the weights may take ``room`` bytes."""
    missing = weight_bytes(model) - room
    if missing <= 0:
        return 0
    block = sum(layer.weight.nbytes for layer in _layers(model.blocks[0]))
    return min(len(model.blocks), math.ceil(missing / block) + 2)  # and two that are shared


def _layers(block: Block) -> list[nn.Linear]:
    return [block.get_submodule(name) for name in STREAMED]  # type: ignore[misc]
