"""Self-attention over scales and cross-attention to the text.

An :class:`AttentionContext` object decides which tokens a token attends to. A token attends to its
own scale and all coarser ones: :class:`TeacherForcing` processes all scales in one pass, and the
caches of :mod:`editinfinity.models.scale_cache` process one scale at a time for sampling. Source:
docs/model.md, "Transformer".

Dimensions: B batch, L tokens, T text tokens, C width.
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
"""Keys and values, each (B, heads, T, head width)."""

Observer = Callable[[Tensor, Tensor], Tensor | None]
"""Callback for cross-attention queries (B, heads, L, head width) and keys (B, heads, T, ·).

It may return attention weights (B, heads, L, T) to use in place of the model's own.
"""


class AttentionContext(Protocol):
    """Computes self-attention over the tokens that are visible in a forward pass."""

    def kv_buffer(self, x: Tensor, heads: int) -> KeysValues | None:
        """Return buffers for the keys and values of tokens x (B, L, C), or None for new tensors.

        Writing into them is optional; it saves :meth:`attend` a copy.
        """
        ...

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return the attention output for q, k and v (B, heads, L, head width), with scale 1."""
        ...


MAX_SHARED_TOKENS = 600
"""Maximum total number of tokens in the first scales, which share one attention call.

Separate calls for such small scales would spend most of their time on kernel launches.
"""


class TeacherForcing:
    """Block-causal attention over all scales in one pass, for training.

    The tokens of a scale attend to their own scale and all coarser ones. Each scale gets one
    attention call over its prefix of the sequence, so nothing is computed only to be masked out.
    The first, small scales share one call with a mask. The result is exact.

    Args:
        lengths: Number of tokens of each scale.
        operations: Implementation of attention, and of the sum of the prefixes' gradients.
    """

    def __init__(self, lengths: Sequence[int], operations: Operations = PLAIN) -> None:
        self.operations = operations
        ends = list(itertools.accumulate(lengths))
        first = sum(end <= MAX_SHARED_TOKENS for end in ends) or 1
        self.small = tuple(lengths[:first])
        self.lengths = [ends[first - 1], *lengths[first:]]
        self.ends = ends[first - 1 :]

    def kv_buffer(self, x: Tensor, heads: int) -> None:
        """Return None: keys and values need no particular buffer."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        # Splitting in memory order, (B, L, heads, ·), makes concatenating the gradients fastest.
        queries = [part.transpose(1, 2) for part in q.transpose(1, 2).split(self.lengths, dim=1)]
        keys = _Prefixes.apply(k, self.ends, self.operations)
        values = _Prefixes.apply(v, self.ends, self.operations)
        mask = _small_mask(self.small, q.dtype, q.device) if len(self.small) > 1 else None
        attended = [attend(queries[0], keys[0], values[0], mask)]
        attended += map(self.operations.attend, queries[1:], keys[1:], values[1:])
        # Concatenate as (B, L, heads, ·), the memory order that the output projection reads.
        return torch.cat([part.transpose(1, 2) for part in attended], dim=1).transpose(1, 2)


@lru_cache(maxsize=32)
def _small_mask(lengths: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the block-causal mask of the first, small scales, to add to the scores.

    Args:
        lengths: Number of tokens of each of these scales.
        dtype: Dtype of the scores.
        device: Device of the scores.

    Returns:
        Mask (L, L) for L tokens in total: 0 where the column's token has the same scale as the
        row's token or a coarser one, so that the row may attend to it; −∞ elsewhere.
    """
    # The cached mask may be created while sampling (inference mode) and used later for training,
    # which cannot use inference tensors.
    with torch.inference_mode(False):
        level = torch.repeat_interleave(torch.tensor(lengths))
        size = len(level)
        # Attention kernels expect mask rows with a stride that is a multiple of 16 values.
        rows = torch.zeros(size, -(-size // 16) * 16, dtype=dtype)
        rows[:, :size].masked_fill_(level[:, None] < level, -math.inf)
        return rows.to(device)[:, :size]


class _Prefixes(torch.autograd.Function):
    """Return the prefix of x (B, heads, L, ·) up to each end; the last end is L.

    With plain slicing, autograd would allocate a mostly zero gradient of full length per prefix.
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
        ctx.operations.add_prefixes(total, shorter)  # in place: these gradients have no other user
        return total, None, None


CUDNN_MIN_QUERIES = 3000
"""Minimum number of queries for cuDNN attention while sampling; see :func:`sampling_backend`."""


def sampling_backend(queries: int) -> AbstractContextManager[None]:
    """Return a context that selects the attention backend that is fastest for a single image.

    PyTorch prefers cuDNN on some GPUs. cuDNN needs 0.1 s once for every new shape, and each scale
    has its own shape; a few images make up for that only at large scales. Below
    ``CUDNN_MIN_QUERIES`` queries, this context therefore excludes cuDNN. The selection applies to
    the whole process, which is safe because one thread generates all images.
    """
    if queries >= CUDNN_MIN_QUERIES:
        return nullcontext()
    others = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
    return sdpa_kernel(others)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return attention with scale 1 of q, k, v (B, heads, L, ·); ``mask`` (L, T) is additive."""
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0)


class SelfAttention(nn.Module):
    """Self-attention with L2-normalised queries and keys and a learned temperature per head."""

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
        """Map x (B, L, C) to (B, L, C); ``rotary`` is the rotary table of these L tokens."""
        kv_buffer = context.kv_buffer(x, self.heads)
        attended = context.attend(*operations.queries_keys_values(self, x, rotary, kv_buffer))
        return self.proj(attended.transpose(1, 2).flatten(2))


class _TextAttention(nn.Module):
    """Base of the attention to text: key and value projection and output projection."""

    def __init__(self, mat_q: Any, text_width: int, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.mat_q = mat_q
        self.mat_kv = nn.Linear(text_width, 2 * width, bias=False)
        self.v_bias = nn.Parameter(torch.zeros(width))
        self.proj = nn.Linear(width, width)

    def keys_values(self, text: Tensor) -> KeysValues:
        """Return keys (no bias) and values (with bias) of text (B, T, ·), shared by all scales."""
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
        """Map x (B, L, C) to (B, L, C); ``mask`` (B, 1, 1, T) is True at real text tokens."""
        q = self.mat_q(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        weights = None if observe is None else observe(q, text[0])
        if weights is None:
            attended = F.scaled_dot_product_attention(q, *text, attn_mask=mask)
        else:
            attended = weights.to(text[1].dtype) @ text[1]
        return self.proj(attended.transpose(1, 2).flatten(2))


class TextPool(_TextAttention):
    """Attention pooling of text features (B, T, Ct5) to (B, C), with one learned query per head.

    Ct5 is the width of the text encoder's features. The pooled text is the input of the first scale
    (the start token), and conditions every block.
    """

    def __init__(self, text_width: int, width: int, heads: int) -> None:
        query = torch.empty(1, heads, width // heads).normal_(0, 0.02)
        super().__init__(nn.Parameter(query), text_width, width, heads)

    def forward(self, text: Tensor, mask: Tensor | None) -> Tensor:
        q = self.mat_q.expand(text.shape[0], -1, -1).unsqueeze(2)
        attended = F.scaled_dot_product_attention(q, *self.keys_values(text), attn_mask=mask)
        return self.proj(attended.flatten(1))
