"""Replaceable implementations of the steps between matrix products and convolutions.

:mod:`editinfinity.models.block` defines what a block computes. An :class:`Operations` object
defines how norms, residual sums, rotary embeddings and adapters are computed. ``PLAIN`` uses
PyTorch and is the reference. :mod:`editinfinity.models.dispatch` selects the kernels of
:mod:`editinfinity.models.fused` where the GPU can run them; the tests compare both.

Dimensions: B batch, L tokens, C width.
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
"""Epsilon of every layer norm."""

MAX_LOG_SCALE = math.log(100)
"""Maximum of the learned logarithm of a head's temperature."""


class Operations:
    """Operations of a transformer block (except cross-attention) and of a tokenizer block.

    This class is the reference implementation, unfused PyTorch. The residual stream ``x`` is
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
        """Return y = x + branch·gate and layer_norm(y)·scale + shift in ``dtype``.

        Without a branch, y is x; without a gate, the gate is 1. Callers should continue with the
        returned y instead of x: an implementation can then add the gradients of both outputs in
        one pass.
        """
        if branch is not None:
            x = x + (branch.float() if gate is None else branch.float() * gate)
        return x, (F.layer_norm(x, x.shape[-1:], eps=EPSILON) * scale + shift).to(dtype)

    def add(self, x: Tensor, branch: Tensor, gate: Tensor) -> Tensor:
        """Return x + branch·gate."""
        return x + branch.float() * gate

    def queries_keys_values(
        self,
        attention: SelfAttention,
        h: Tensor,
        table: Tensor,
        kv_buffer: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the queries and keys (normalised, scaled, rotated) and the values of h (B, L, C).

        Only queries are scaled. Each result is (B, heads, L, head width) in the dtype of h.
        ``table`` (2, L, ·) is the rotary table of these tokens. An implementation may write keys
        and values into ``kv_buffer``; it returns them in either case.
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
        """Add each part (B, heads, ·, head width) to the first tokens of ``total``, in place."""
        for part in parts:
            total[:, :, : part.shape[2]] += part

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return attention with scale 1 of q (B, heads, L, ·) to k and v (B, heads, T, ·)."""
        return F.scaled_dot_product_attention(q, k, v, scale=1.0)

    def with_dropout_seeds(self, seeds: Tensor) -> Operations:
        """Return these operations with given seeds of the adapters' dropout masks.

        The seeds (blocks, 2) int64 are read when the kernels run. Without kernels, torch draws the
        masks from the generator of the device, and the seeds are not used.
        """
        return self

    def feed_forward(self, layers: FeedForward, h: Tensor) -> Tensor:
        """Return the output of the feed-forward layers, with or without LoRA, for h (B, L, C)."""
        return layers(h)

    def group_norm_swish(self, norm: nn.GroupNorm, x: Tensor) -> Tensor:
        """Return swish(norm(x)) of tokenizer features x (B, C, H, W)."""
        return F.silu(F.group_norm(x, norm.num_groups, norm.weight, norm.bias, norm.eps))


PLAIN = Operations()
