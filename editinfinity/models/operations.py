"""The steps around a model's matrix products and convolutions, as an object that it is handed.

What a block computes stands in :mod:`editinfinity.models.block`; how its norms, residual
sums, rotations and adapters are computed is one of the :class:`Operations`. ``PLAIN`` is PyTorch's
own and the reference. :mod:`editinfinity.models.dispatch` picks the kernels of
:mod:`editinfinity.models.fused` where a card can run them; the tests compare the two.

Suffixes name dimensions: B batch, L tokens, C width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from editinfinity.models.rotary import rotate

if TYPE_CHECKING:
    from editinfinity.models.attention import SelfAttention
    from editinfinity.models.block import FeedForward

EPSILON = 1e-6
"""Of every layer norm."""

MAX_LOG_SCALE = math.log(100)
"""Largest logarithm of a head's temperature."""


class Operations:
    """What a transformer's block asks for besides cross-attention, and a tokenizer's.

    Here they are PyTorch's own, one after another: the reference. The residual stream ``x`` is
    (B, L, C) fp32. ``gate``, ``scale`` and ``shift`` are fp32 and broadcast over tokens: (B, 1, C),
    (1, 1, C) or (C,).
    """

    def add_norm(
        self,
        x: Tensor,
        branch: Tensor | None,
        gate: Tensor | None,
        scale: Tensor,
        shift: Tensor,
        dtype: torch.dtype,
    ) -> tuple[Tensor, Tensor]:
        """The sum y = x + branch·gate, or x itself, and layer_norm(y)·scale + shift in ``dtype``.

        Whoever goes on with the y that comes back has the gradients of both added in one pass.
        """
        if branch is not None:
            x = x + (branch.float() if gate is None else branch.float() * gate)
        return x, (F.layer_norm(x, x.shape[-1:], eps=EPSILON) * scale + shift).to(dtype)

    def add(self, x: Tensor, branch: Tensor, gate: Tensor) -> Tensor:
        """X + branch·gate."""
        return x + branch.float() * gate

    def queries_keys_values(
        self,
        attention: SelfAttention,
        h: Tensor,
        table: Tensor,
        kv_buffer: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries and keys, normalised, scaled and rotated, and values of h (B, L, C).

        (B, heads, L, head width) each, in h's dtype; ``table`` is of these tokens, (2, L, ·).
        Keys and values may be written into ``kv_buffer``, and are what comes back all the same.
        """
        q_bias, v_bias = attention.q_bias, attention.v_bias
        bias = torch.cat([q_bias, torch.zeros_like(q_bias), v_bias])
        qkv = F.linear(h, attention.mat_qkv.weight, bias.to(h.dtype))
        q, k, v = qkv.unflatten(-1, (3, attention.heads, -1)).permute(2, 0, 3, 1, 4)
        temperature = attention.scale_mul_1H11.float().clamp(max=MAX_LOG_SCALE).exp()
        q = F.normalize(q.float(), dim=-1) * temperature
        k = F.normalize(k.float(), dim=-1)
        return rotate(q, table).to(v.dtype), rotate(k, table).to(v.dtype), v

    def add_prefixes(self, total: Tensor, parts: Sequence[Tensor]) -> None:
        """Add parts (B, heads, ·, head width) to the first tokens of ``total``, in place."""
        for part in parts:
            total[:, :, : part.shape[2]] += part

    def feed_forward(self, layers: FeedForward, h: Tensor) -> Tensor:
        """The feed-forward layers, adapted or not, of h (B, L, C)."""
        return layers(h)

    def group_norm_swish(self, norm: nn.GroupNorm, x: Tensor) -> Tensor:
        """swish(norm(x)) of a tokenizer's features (B, C, H, W)."""
        return F.silu(F.group_norm(x, norm.num_groups, norm.weight, norm.bias, norm.eps))


PLAIN = Operations()
