"""A transformer block: attention and feed-forward branches on a residual stream.

Source: docs/model.md, "Transformer". Dimensions: B batch, L tokens, C width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from editinfinity.models.attention import (
    AttentionContext,
    CrossAttention,
    KeysValues,
    Observer,
    SelfAttention,
)
from editinfinity.models.operations import EPSILON, PLAIN, Operations


class Modulation(NamedTuple):
    """Adaptive layer norm parameters of one block, computed from the text; each (B, 1, C).

    Suffix 1 is the self-attention branch, suffix 2 the feed-forward branch. The normalised input is
    multiplied by the scale itself, not by 1 + scale. A branch whose gate is None is skipped.
    """

    gate1: Tensor | None
    gate2: Tensor | None
    scale1: Tensor
    scale2: Tensor
    shift1: Tensor
    shift2: Tensor

    def first(self, rows: int) -> Modulation:
        """Return the parameters of the first rows of the batch."""
        gate1, gate2 = (None if gate is None else gate[:rows] for gate in self[:2])
        return Modulation(gate1, gate2, *(part[:rows] for part in self[2:]))


class Stream(NamedTuple):
    """Residual stream whose last addition is pending, so that it can be fused with the next norm.

    Attributes:
        x: Residual stream before the pending addition, (B, L, C) fp32.
        branch: Branch output that is still to be added, (B, L, C); None if there is none.
        gate: Factor of the branch, (B, 1, C) fp32; None for 1.
    """

    x: Tensor
    branch: Tensor | None = None
    gate: Tensor | None = None

    def add_pending(self, operations: Operations) -> Tensor:
        """Return the residual stream with the pending branch added, (B, L, C) fp32."""
        if self.branch is None:
            return self.x
        if self.gate is None:
            return self.x + self.branch.float()
        return operations.add(self.x, self.branch, self.gate)

    def norm(
        self, operations: Operations, scale: Tensor, shift: Tensor, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        """Return the residual stream with the branch added, and its layer norm in ``dtype``."""
        return operations.add_norm(self.x, self.branch, self.gate, scale, shift, dtype)


class FeedForward(nn.Module):
    """Linear C → 4C, GELU (tanh), linear 4C → C. LoRA adapts these two linear layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class Block(nn.Module):
    """Self-attention, cross-attention and feed-forward on an fp32 residual stream."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.sa = SelfAttention(width, heads)
        self.ca = CrossAttention(width, heads)
        self.ffn = FeedForward(width)
        self.ca_norm = nn.LayerNorm(width, eps=EPSILON)
        self.ada_gss = nn.Parameter(torch.empty(1, 1, 6, width).normal_(0, width**-0.5))
        self.operations = PLAIN

    def forward(
        self,
        stream: Stream,
        modulation: Modulation,
        text: KeysValues,
        mask: Tensor | None,
        rotary: Tensor,
        context: AttentionContext,
        observe: Observer | None = None,
    ) -> Stream:
        """Return the residual stream after this block."""
        dtype, operations, ca_norm = self.ffn_dtype, self.operations, self.ca_norm
        if modulation.gate1 is None:
            x, h = stream.norm(operations, ca_norm.weight, ca_norm.bias, dtype)
        else:
            x, h = stream.norm(operations, modulation.scale1, modulation.shift1, dtype)
            h = self.sa(h, rotary, context, operations)
            x, h = operations.add_norm(x, h, modulation.gate1, ca_norm.weight, ca_norm.bias, dtype)
        h = self.ca(h, text, mask, observe)
        if modulation.gate2 is None:
            return Stream(x, h)
        x, h = operations.add_norm(x, h, None, modulation.scale2, modulation.shift2, dtype)
        return Stream(x, operations.feed_forward(self.ffn, h), modulation.gate2)

    @property
    def ffn_dtype(self) -> torch.dtype:
        """The dtype in which the linear layers run."""
        return self.sa.mat_qkv.weight.dtype


BlockRunner = Callable[..., Stream]
"""Calls a block with its arguments, for example with gradient checkpointing."""


def run_block(block: Block, stream: Stream, *arguments: object) -> Stream:
    """Call a block directly, without gradient checkpointing."""
    return block(stream, *arguments)
