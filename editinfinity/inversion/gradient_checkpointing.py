"""Gradient checkpointing of only as many blocks as are needed to fit into memory.

A checkpointed block stores only its input, and its forward pass runs twice. The blocks are selected
before the training starts, based on the device's free memory. If not even the inputs of all blocks
fit, some of them wait in RAM. Neither changes the results: the second forward pass of a block draws
the same random numbers as the first.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

from editinfinity.compute import free_bytes
from editinfinity.models.block import Block, Stream
from editinfinity.models.operations import PLAIN
from editinfinity.models.transfers import Transfers, spread
from editinfinity.models.transformer import Infinity

log = logging.getLogger(__name__)

_STORED_FUSED, _STORED_PLAIN = 16, 42
"""Values a block stores for its backward pass, as a multiple of its input size (tokens × width).

The first number is for the fused kernels, slightly above the measured values (14 with LoRA, 15.4
for the embedding). The second is a conservative estimate for the plain operations.
"""

_WORKING_BLOCKS = 3
"""Additional memory of a backward pass, as a multiple of what one block stores."""

_RESERVE = 2**30
"""Bytes reserved for logits, the optimizer and memory that libraries allocate."""

_LEAST_WORKING_BLOCKS, _LEAST_RESERVE = 1.5, 2**30
"""The same two as measured, for a GPU on which not even the inputs of all blocks fit.

Gaps between tensors took up to 0.6 GiB.
"""

_MOVING = 3
"""Number of parked inputs that are on the device at a time: one in use, two on their way."""


class GradientCheckpointing:
    """A ``BlockRunner`` that runs the given blocks with gradient checkpointing.

    Args:
        blocks: The blocks to checkpoint.
        parked: Blocks among these whose inputs wait in RAM for the backward pass, in order.
    """

    def __init__(self, blocks: Iterable[Block], parked: Iterable[Block] = ()) -> None:
        self.blocks = {id(block) for block in blocks}
        self.parked = {id(block): index for index, block in enumerate(parked)}
        self._inputs: ParkedInputs | None = None

    def __call__(self, block: Block, stream: Stream, *arguments: object) -> Stream:
        if id(block) not in self.blocks:
            return block(stream, *arguments)
        with self._parking(block, stream.x):
            # The tensors of the stream as separate arguments, because checkpoint() saves only those
            # in a way that can be replaced.
            return checkpoint(_run_block, block, *stream, *arguments, use_reentrant=False)

    def _parking(self, block: Block, x: Tensor) -> AbstractContextManager[object]:
        if id(block) not in self.parked or not torch.is_grad_enabled():
            return nullcontext()
        if self._inputs is None:
            self._inputs = ParkedInputs(len(self.parked), x)
        return self._inputs.parking(self.parked[id(block)], x)


class ParkedInputs:
    """Keeps inputs of blocks in RAM from the forward pass to the backward pass.

    While the backward pass of one block runs, the input of the next one is copied back.

    Args:
        count: Number of inputs.
        like: A tensor with the shape, dtype and device of each input.
    """

    def __init__(self, count: int, like: Tensor) -> None:
        self.leaving, self.returning = Transfers(like.device), Transfers(like.device)
        self._device = like.device
        self._in_ram = [_PinnedTensor(like) for _ in range(count)]
        self._arriving: dict[int, tuple[Tensor, Any]] = {}
        self._departure: tuple[Tensor, Any] | None = None

    @contextmanager
    def parking(self, index: int, x: Tensor) -> Iterator[None]:
        """Within the block, autograd saves tensor x, input number ``index``, in RAM."""
        shape, dtype = x.shape, x.dtype  # autograd keeps pack, which must not keep x

        def pack(tensor: Tensor) -> Tensor | int:
            if tensor.shape != shape or tensor.dtype != dtype:
                return tensor
            self._leave(index, tensor)
            return index

        def unpack(packed: Tensor | int) -> Tensor:
            return self._return(packed) if isinstance(packed, int) else packed

        with saved_tensors_hooks(pack, unpack):
            yield

    def _leave(self, index: int, tensor: Tensor) -> None:
        self._forget_departure()
        tensor = tensor.detach()
        event = self.leaving.start(self._in_ram[index].copies_from(tensor))
        self._departure = (tensor, event)  # keeps the memory until it has been copied

    def _forget_departure(self) -> None:
        """Let go of the last input; its memory is reused only after it has been copied."""
        if self._departure is not None:
            self.leaving.wait_for(self._departure[1])
            self._departure = None

    def _return(self, index: int) -> Tensor:
        self._forget_departure()
        self._fetch(index)
        tensor, event = self._arriving.pop(index)
        self.returning.wait_for(event)
        if index:
            self._fetch(index - 1)
        return tensor

    def _fetch(self, index: int) -> None:
        if index in self._arriving:
            return
        tensor = self._in_ram[index].empty_copy(self._device)
        event = self.returning.start(self._in_ram[index].copies_to(tensor))
        self._arriving[index] = (tensor, event)


class _PinnedTensor:
    """Memory for a tensor in RAM, in pieces whose sizes are powers of two.

    torch rounds pinned memory up to a power of two, so one piece could take twice the memory.
    """

    def __init__(self, like: Tensor) -> None:
        self.shape, self.dtype = like.shape, like.dtype
        pinned, rest, self.pieces = like.device.type == "cuda", like.numel(), list[Tensor]()
        while rest:
            size = 1 << (rest.bit_length() - 1)
            self.pieces.append(torch.empty(size, dtype=like.dtype, pin_memory=pinned))
            rest -= size

    def empty_copy(self, device: torch.device) -> Tensor:
        """Return a tensor of the same shape on a device, not yet filled."""
        return torch.empty(self.shape, dtype=self.dtype, device=device)

    def copies_from(self, tensor: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return the (target, source) pairs that copy a tensor to here."""
        return list(zip(self.pieces, self._split(tensor), strict=True))

    def copies_to(self, tensor: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return the (target, source) pairs that copy this to a tensor."""
        return list(zip(self._split(tensor), self.pieces, strict=True))

    def _split(self, tensor: Tensor) -> tuple[Tensor, ...]:
        return tensor.view(-1).split([len(piece) for piece in self.pieces])


def _run_block(
    block: Block, x: Tensor, branch: Tensor | None, gate: Tensor | None, *arguments: object
) -> Stream:
    """Run a block and add its pending branch, so that the next block stores only one tensor."""
    return Stream(block(Stream(x, branch, gate), *arguments).add_pending(block.operations))


def bytes_stored(model: Infinity, tokens: int) -> int:
    """Return the bytes one block stores for its backward pass, given the tokens of a batch."""
    block = model.blocks[0]
    stored = _STORED_PLAIN if block.operations is PLAIN else _STORED_FUSED
    return stored * tokens * model.config.width * block.ffn_dtype.itemsize


def blocks_to_checkpoint(model: Infinity, tokens: int, free: int) -> int:
    """Return the number of blocks to checkpoint so that training fits into ``free`` bytes."""
    depth, stored = len(model.blocks), bytes_stored(model, tokens)
    input_bytes = tokens * model.config.width * 4  # a recomputed block's input, fp32
    spare = free - _RESERVE - _WORKING_BLOCKS * stored - depth * input_bytes
    return min(depth, max(0, depth - spare // (stored - input_bytes)))


def inputs_to_park(model: Infinity, tokens: int, free: int) -> int:
    """Return the number of block inputs that wait in RAM so that training fits into ``free`` bytes.

    Args:
        model: the transformer, all of whose blocks are checkpointed.
        tokens: total number of tokens of all samples of a batch.
        free: bytes on the device.
    """
    depth, input_bytes = len(model.blocks), tokens * model.config.width * 4
    missing = depth * input_bytes - (free - _least_bytes(bytes_stored(model, tokens)))
    if missing <= 0:
        return 0
    return min(depth, -(-missing // input_bytes) + _MOVING)


def least_training_bytes(model: Infinity, tokens: int) -> int:
    """Return the bytes for training, without weights, if all inputs of blocks are parked."""
    moving = _MOVING * tokens * model.config.width * 4
    return _least_bytes(bytes_stored(model, tokens)) + moving


def recomputed_training_bytes(model: Infinity, tokens: int) -> int:
    """Return the bytes for training, without weights, if all blocks are checkpointed."""
    inputs = len(model.blocks) * tokens * model.config.width * 4
    return _least_bytes(bytes_stored(model, tokens)) + inputs


def _least_bytes(stored: int) -> int:
    return _LEAST_RESERVE + int(_LEAST_WORKING_BLOCKS * stored)


def prepare(model: Infinity, tokens: int, choice: str = "auto") -> int:
    """Enable gradient checkpointing for the required number of a model's blocks; return it.

    Args:
        model: the transformer, already on its device.
        tokens: total number of tokens of all samples of a batch.
        choice: ``auto`` (as few blocks as memory allows; none on a CPU), ``none`` or ``all``: the
            setting ``gradient_checkpointing``.
    """
    device, depth, parked = model.device, len(model.blocks), 0
    # The backward pass of a streamed block needs its matrices again.
    count = depth if choice == "all" or model.is_streamed else 0
    if device.type == "cuda":
        free = free_bytes(device)
        if choice == "auto" and not count:
            count = blocks_to_checkpoint(model, tokens, free)
        if count == depth:
            parked = inputs_to_park(model, tokens, free)
    blocks = [model.blocks[index] for index in spread(parked, depth)]
    model.run_block = GradientCheckpointing(model.blocks[:count], blocks)
    if count and choice == "auto":
        log.info("gradient checkpointing: %d of %d blocks are recomputed", count, depth)
    if parked:
        log.info("gradient checkpointing: the inputs of %d blocks wait in RAM", parked)
    return count
