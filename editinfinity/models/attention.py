"""Self-attention over scales and cross-attention to the text.

How tokens see each other is an object handed in (an :class:`AttentionContext`): teacher forcing
shows each scale itself and all coarser ones, sampling keeps their keys and values. Source:
docs/model.md, "Transformer".

Suffixes name dimensions: B batch, L tokens, T text tokens, C width.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from editinfinity.models.operations import PLAIN, Operations

KeysValues = tuple[Tensor, Tensor]
"""Keys and values, (B, heads, T, head width) each."""

Observer = Callable[[Tensor, Tensor], None]
"""Sees the queries (B, heads, L, head width) and keys (B, heads, T, ·) of a cross-attention."""


class AttentionContext(Protocol):
    """What the tokens of a pass attend to."""

    def kv_buffer(self, x: Tensor, heads: int) -> KeysValues | None:
        """Where keys and values of tokens x (B, L, C) are best written; None for anywhere."""
        ...

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention output for queries, keys and values (B, heads, L, head width), scale 1."""
        ...


TOGETHER = 600
"""Tokens of the first, small scales that share one call: one by one they cost only launches."""


class TeacherForcing:
    """All scales at once; each sees itself and every coarser one.

    One attention call a scale over its prefix, so that no masked work is done, but for the first
    scales, which share a call under a mask. Exact.

    Args:
        lengths: of the scales.
        operations: compute what PyTorch's attention leaves to do.
    """

    def __init__(self, lengths: Sequence[int], operations: Operations = PLAIN) -> None:
        self.operations = operations
        ends = list(itertools.accumulate(lengths))
        first = sum(end <= TOGETHER for end in ends) or 1
        self.small = tuple(lengths[:first])
        self.lengths = [ends[first - 1], *lengths[first:]]
        self.ends = ends[first - 1 :]

    def kv_buffer(self, x: Tensor, heads: int) -> None:
        """Anywhere."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        # Split as they lie in memory, (B, L, heads, ·): so their gradients are joined quickest.
        queries = [part.transpose(1, 2) for part in q.transpose(1, 2).split(self.lengths, dim=1)]
        keys = _Prefixes.apply(k, self.ends, self.operations)
        values = _Prefixes.apply(v, self.ends, self.operations)
        mask = _first_mask(self.small, q.dtype, q.device) if len(self.small) > 1 else None
        attended = [attend(queries[0], keys[0], values[0], mask)]
        attended += map(attend, queries[1:], keys[1:], values[1:])
        # Joined in the order they are projected in, (B, L, heads, ·).
        return torch.cat([part.transpose(1, 2) for part in attended], dim=1).transpose(1, 2)


@lru_cache(maxsize=32)
def _first_mask(lengths: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """What is added to the scores of scales in one call: 0 where a token sees another, else −∞."""
    # A cached mask made while sampling must still serve training in the same process.
    with torch.inference_mode(False):
        level = torch.repeat_interleave(torch.tensor(lengths))
        size = len(level)
        # Rows of a multiple of 16 values: what the attention kernels want of a mask.
        rows = torch.zeros(size, -(-size // 16) * 16, dtype=dtype)
        rows[:, :size].masked_fill_(level[:, None] < level, -math.inf)
        return rows.to(device)[:, :size]


class _Prefixes(torch.autograd.Function):
    """x (B, heads, L, ·) → its first tokens up to each end, the last of which is L.

    Slices would each be given a gradient of the whole length, of zeros for the most part.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, ends: Sequence[int], operations: Operations
    ) -> tuple[Tensor, ...]:
        ctx.operations = operations
        return tuple(x[:, :, :end] for end in ends)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        *shorter, total = grads
        ctx.operations.add_prefixes(total, shorter)  # attention made these for nobody else
        return total, None, None


class ScaleCache:
    """One scale after another; keeps the keys and values of all seen so far (one block's).

    Args:
        tokens: how many there will be in all; memory for them is taken at the first.
    """

    def __init__(self, tokens: int) -> None:
        self.tokens, self.seen = tokens, 0
        self._kept: Tensor | None = None

    def kv_buffer(self, x: Tensor, heads: int) -> KeysValues:
        """Behind those seen so far."""
        batch, length, width = x.shape
        if self._kept is None:
            self._kept = x.new_empty(2, batch, self.tokens, heads, width // heads).transpose(2, 3)
        keys, values = self._kept.narrow(3, self.seen, length)
        return keys, values

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        kept, length = self._kept, k.shape[2]
        if kept is None:
            raise ValueError("kv_buffer comes before attend")
        for place, given in zip(kept.narrow(3, self.seen, length), (k, v), strict=True):
            if place.data_ptr() != given.data_ptr():  # not written there already
                place.copy_(given)
        self.seen += length
        keys, values = kept.narrow(3, 0, self.seen)
        return attend(q, keys, values)


LARGE = 3000
"""Queries from which on cuDNN's attention is used for drawing: see :func:`quick_to_start`."""


def quick_to_start(queries: int) -> AbstractContextManager[None]:
    """Attention of so many queries as it is quickest for one picture.

    Where PyTorch prefers cuDNN, every new shape costs a tenth of a second once, and there is a
    shape for every scale; only for the large ones a few pictures earn that back. The choice is the
    whole process's: pictures are drawn by one thread.
    """
    if queries >= LARGE:
        return nullcontext()
    others = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
    return sdpa_kernel(others)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attention of scale 1, (B, heads, L, ·) each; a mask (L, T) is added to the scores."""
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0)


class SelfAttention(nn.Module):
    """Attention with normalised queries and keys and a learned temperature a head."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.mat_qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(width))
        self.v_bias = nn.Parameter(torch.zeros(width))
        self.scale_mul_1H11 = nn.Parameter(torch.full((1, heads, 1, 1), math.log(4.0)))
        self.proj = nn.Linear(width, width)

    def forward(
        self,
        x: Tensor,
        rotary: Tensor,
        context: AttentionContext,
        operations: Operations = PLAIN,
    ) -> Tensor:
        """(B, L, C) → (B, L, C); ``rotary`` is the table of these L tokens."""
        kv_buffer = context.kv_buffer(x, self.heads)
        attended = context.attend(*operations.queries_keys_values(self, x, rotary, kv_buffer))
        return self.proj(attended.transpose(1, 2).flatten(2))


class _TextAttention(nn.Module):
    """What attends to text: where keys and values come from, and where the outcome goes."""

    def __init__(self, mat_q: Any, text_width: int, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.mat_q = mat_q
        self.mat_kv = nn.Linear(text_width, 2 * width, bias=False)
        self.v_bias = nn.Parameter(torch.zeros(width))
        self.proj = nn.Linear(width, width)

    def keys_values(self, text: Tensor) -> KeysValues:
        """Keys (without bias) and values (with) of text (B, T, ·), for every scale."""
        bias = torch.cat([torch.zeros_like(self.v_bias), self.v_bias]).to(text.dtype)
        kv = F.linear(text, self.mat_kv.weight, bias)
        k, v = kv.unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return k, v


class CrossAttention(_TextAttention):
    """Attention of image tokens to text tokens."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(nn.Linear(width, width), width, width, heads)

    def forward(
        self,
        x: Tensor,
        text: KeysValues,
        mask: Tensor | None = None,
        observe: Observer | None = None,
    ) -> Tensor:
        """(B, L, C) → (B, L, C); ``mask`` (B, 1, 1, T) is True where there is text."""
        q = self.mat_q(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        if observe is not None:
            observe(q, text[0])
        attended = F.scaled_dot_product_attention(q, *text, attn_mask=mask)
        return self.proj(attended.transpose(1, 2).flatten(2))


class TextPool(_TextAttention):
    """The start token: text (B, T, Ct5) → (B, C) by attention of one learned query a head."""

    def __init__(self, text_width: int, width: int, heads: int) -> None:
        query = torch.empty(1, heads, width // heads).normal_(0, 0.02)
        super().__init__(nn.Parameter(query), text_width, width, heads)

    def forward(self, text: Tensor, mask: Tensor | None) -> Tensor:
        q = self.mat_q.expand(text.shape[0], -1, -1).unsqueeze(2)
        attended = F.scaled_dot_product_attention(q, *self.keys_values(text), attn_mask=mask)
        return self.proj(attended.flatten(1))
