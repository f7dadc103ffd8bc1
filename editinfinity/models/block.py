"""A block of the transformer: attention and feed-forward around a residual stream.

Source: docs/model.md, "Transformer". Suffixes name dimensions: B batch, L tokens,
C width.
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
    """What the text makes of a block's two modulated branches, (B, 1, C) each.

    1 is self-attention, 2 feed-forward; a scale multiplies the normalised input as it is. A branch
    without a gate is dropped.
    """

    gate1: Tensor | None
    gate2: Tensor | None
    scale1: Tensor
    scale2: Tensor
    shift1: Tensor
    shift2: Tensor


class Stream(NamedTuple):
    """The residual stream, whose last sum is left to whoever reads it: it can go with a norm.

    Attributes:
        x: (B, L, C) fp32.
        branch: (B, L, C), still to be added; None where nothing is.
        gate: (B, 1, C) fp32, of the branch; None for 1.
    """

    x: Tensor
    branch: Tensor | None = None
    gate: Tensor | None = None

    def settled(self, do: Operations) -> Tensor:
        """The sum."""
        if self.branch is None:
            return self.x
        if self.gate is None:
            return self.x + self.branch.float()
        return do.add(self.x, self.branch, self.gate)

    def norm(
        self, do: Operations, scale: Tensor, shift: Tensor, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        """The sum, and its layer norm in ``dtype``."""
        return do.add_norm(self.x, self.branch, self.gate, scale, shift, dtype)


class FeedForward(nn.Module):
    """Linear C → 4C, GELU (tanh), linear 4C → C: the layers LoRA adapts."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class Block(nn.Module):
    """Self-attention, cross-attention and feed-forward around an fp32 residual stream."""

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
        """The stream behind this block."""
        dtype, do, ca_norm = self.ffn_dtype, self.operations, self.ca_norm
        if modulation.gate1 is None:
            x, h = stream.norm(do, ca_norm.weight, ca_norm.bias, dtype)
        else:
            x, h = stream.norm(do, modulation.scale1, modulation.shift1, dtype)
            h = self.sa(h, rotary, context, do)
            x, h = do.add_norm(x, h, modulation.gate1, ca_norm.weight, ca_norm.bias, dtype)
        h = self.ca(h, text, mask, observe)
        if modulation.gate2 is None:
            return Stream(x, h)
        x, h = do.add_norm(x, h, None, modulation.scale2, modulation.shift2, dtype)
        return Stream(x, do.feed_forward(self.ffn, h), modulation.gate2)

    @property
    def ffn_dtype(self) -> torch.dtype:
        """The dtype the linear layers run in."""
        return self.sa.mat_qkv.weight.dtype


BlockRunner = Callable[..., Stream]
"""Runs a block on its arguments; gradient checkpointing is one such."""


def run_block(block: Block, stream: Stream, *others: object) -> Stream:
    """Run a block plainly."""
    return block(stream, *others)
