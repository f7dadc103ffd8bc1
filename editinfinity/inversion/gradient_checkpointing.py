"""Gradient checkpointing of as many blocks as memory asks for, and no more.

A block that is recomputed keeps only its input; its forward pass runs twice. Which blocks are is
decided before a training starts, from what the device has free. Nothing of it changes a result:
the random numbers of a block's first run are drawn again in its second.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

import torch
from torch.utils.checkpoint import checkpoint

from editinfinity.models.block import Block, Stream
from editinfinity.models.operations import PLAIN
from editinfinity.models.transformer import Infinity

log = logging.getLogger(__name__)

_KEPT_FUSED, _KEPT_PLAIN = 16, 42
"""Numbers a block keeps for its gradient, as multiples of what enters its layers: tokens × width.

A little above what was measured with the fused kernels (14 under LoRA, 15.4 for the embedding), and
a generous guess for the plain operations.
"""

_WORKING_BLOCKS = 3
"""Blocks' worth of memory that a backward pass needs besides."""

_RESERVE = 2**30
"""Bytes for logits, optimizer and what the libraries take."""


class GradientCheckpointing:
    """Runs blocks, some of them under gradient checkpointing (a ``BlockRunner``)."""

    def __init__(self, blocks: Iterable[Block]) -> None:
        self.blocks = {id(block) for block in blocks}

    def __call__(self, block: Block, stream: Stream, *others: object) -> Stream:
        if id(block) not in self.blocks:
            return block(stream, *others)
        return checkpoint(_settled, block, stream, *others, use_reentrant=False)


def _settled(block: Block, stream: Stream, *others: object) -> Stream:
    """A block with its last sum made, so that the next one keeps a single tensor as its input."""
    return Stream(block(stream, *others).settled(block.operations))


def bytes_kept(model: Infinity, tokens: int) -> int:
    """Bytes one block keeps for its gradient while so many tokens (of the whole batch) pass."""
    block = model.blocks[0]
    kept = _KEPT_PLAIN if block.operations is PLAIN else _KEPT_FUSED
    return kept * tokens * model.config.width * block.ffn_dtype.itemsize


def blocks_to_recompute(model: Infinity, tokens: int, free: int) -> int:
    """How many blocks must be recomputed for a training to fit into ``free`` bytes."""
    depth, kept = len(model.blocks), bytes_kept(model, tokens)
    entering = tokens * model.config.width * 4  # a recomputed block's input, fp32
    spare = free - _RESERVE - _WORKING_BLOCKS * kept - depth * entering
    return min(depth, max(0, depth - spare // max(1, kept - entering)))


def prepare(model: Infinity, tokens: int, choice: str = "auto") -> None:
    """Have a model's training recompute what it must.

    Args:
        model: on its device.
        tokens: of all samples of a batch together.
        choice: ``auto`` (as few blocks as fit; none on a CPU), ``none`` or ``all``.
    """
    device, depth = model.device, len(model.blocks)
    count = depth if choice == "all" else 0
    if choice == "auto" and device.type == "cuda":
        count = blocks_to_recompute(model, tokens, free_bytes(device))
    model.run_block = GradientCheckpointing(model.blocks[:count])
    if count and choice == "auto":
        log.info("memory: %d of %d blocks are computed twice to fit", count, depth)


def free_bytes(device: torch.device) -> int:
    """Bytes this process can still have on a card, what it holds unused included."""
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused
