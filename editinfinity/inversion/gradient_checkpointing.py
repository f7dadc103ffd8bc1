"""Gradient checkpointing of only as many blocks as are needed to fit into memory.

A checkpointed block stores only its input, and its forward pass runs twice. The blocks are selected
before the training starts, based on the device's free memory. Checkpointing does not change the
results: the second forward pass of a block draws the same random numbers as the first.
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

_STORED_FUSED, _STORED_PLAIN = 16, 42
"""Values a block stores for its backward pass, as a multiple of its input size (tokens × width).

The first number is for the fused kernels, slightly above the measured values (14 with LoRA, 15.4
for the embedding). The second is a conservative estimate for the plain operations.
"""

_WORKING_BLOCKS = 3
"""Additional memory of a backward pass, as a multiple of what one block stores."""

_RESERVE = 2**30
"""Bytes reserved for logits, the optimizer and memory that libraries allocate."""


class GradientCheckpointing:
    """A ``BlockRunner`` that runs the given blocks with gradient checkpointing."""

    def __init__(self, blocks: Iterable[Block]) -> None:
        self.blocks = {id(block) for block in blocks}

    def __call__(self, block: Block, stream: Stream, *arguments: object) -> Stream:
        if id(block) not in self.blocks:
            return block(stream, *arguments)
        return checkpoint(_run_block, block, stream, *arguments, use_reentrant=False)


def _run_block(block: Block, stream: Stream, *arguments: object) -> Stream:
    """Run a block and add its pending branch, so that the next block stores only one tensor."""
    return Stream(block(stream, *arguments).add_pending(block.operations))


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
    return min(depth, max(0, depth - spare // max(1, stored - input_bytes)))


def prepare(model: Infinity, tokens: int, choice: str = "auto") -> int:
    """Enable gradient checkpointing for the required number of a model's blocks; return it.

    Args:
        model: the transformer, already on its device.
        tokens: total number of tokens of all samples of a batch.
        choice: ``auto`` (as few blocks as memory allows; none on a CPU), ``none`` or ``all``: the
            setting ``gradient_checkpointing``.
    """
    device, depth = model.device, len(model.blocks)
    count = depth if choice == "all" else 0
    if choice == "auto" and device.type == "cuda":
        count = blocks_to_checkpoint(model, tokens, free_bytes(device))
    model.run_block = GradientCheckpointing(model.blocks[:count])
    if count and choice == "auto":
        log.info("gradient checkpointing: %d of %d blocks are recomputed", count, depth)
    return count


def free_bytes(device: torch.device) -> int:
    """Return the bytes this process can still allocate on a GPU, including torch's unused cache."""
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused
