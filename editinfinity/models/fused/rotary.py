"""Compute queries, keys and values in one pass over a projection.

Queries and keys are normalised, scaled and rotated. The backward pass needs only the rotated
queries and keys, which attention saves anyway, and their norms before normalisation: rotating them
back gives the unit vectors.

Dimensions: B batch, L tokens, H heads, D head width.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from editinfinity.models.operations import MAX_LOG_SCALE

_SMALLEST = tl.constexpr(1e-12)
_LARGEST_LOG = tl.constexpr(MAX_LOG_SCALE)


@triton.jit
def _turn(x, cosine, sine, HEADS: tl.constexpr, HALF: tl.constexpr):
    """Consecutive pairs of (HEADS, 2·HALF) rotated by (1, HALF) angles."""
    even, odd = tl.split(tl.reshape(x, (HEADS, HALF, 2)))
    turned = tl.join(even * cosine - odd * sine, even * sine + odd * cosine)
    return tl.reshape(turned, (HEADS, 2 * HALF))


@triton.jit
def _unit(x):
    """Rows of x at length 1, and one over the length they had."""
    over = 1.0 / tl.maximum(tl.sqrt(tl.sum(x * x, axis=1)), _SMALLEST)
    return x * over[:, None], over


@triton.jit(do_not_specialize=["length", "kept_length"])
def _forward(
    qkv, q_bias, v_bias, log_scale, table, q_out, k_out, v_out, q_over, k_over,
    length, heads, table_stride, kept_length,
    SAVE: tl.constexpr, HEADS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    """One token, all heads, a program."""
    row = tl.program_id(0)
    width = heads * 2 * HALF
    head = tl.arange(0, HEADS)
    present = head < heads
    columns = head[:, None] * (2 * HALF) + tl.arange(0, 2 * HALF)[None, :]
    inside = columns < width
    pairs = tl.arange(0, HALF)
    angle = (row % length) * HALF + pairs
    cosine = tl.load(table + angle)[None, :]
    sine = tl.load(table + table_stride + angle)[None, :]
    source = qkv + row.to(tl.int64) * (3 * width) + columns
    at = row.to(tl.int64) * width + columns
    # Of the keys and values, which may lie among those of other tokens.
    kept = ((row // length).to(tl.int64) * kept_length + row % length) * width + columns

    q = tl.load(source, mask=inside, other=0.0).to(tl.float32)
    q += tl.load(q_bias + columns, mask=inside, other=0.0).to(tl.float32)
    q, over = _unit(q)
    temperature = tl.load(log_scale + head, mask=present, other=0.0).to(tl.float32)
    q = q * tl.exp(tl.minimum(temperature, _LARGEST_LOG))[:, None]
    q = _turn(q, cosine, sine, HEADS, HALF)
    tl.store(q_out + at, q.to(q_out.dtype.element_ty), mask=inside)
    if SAVE:
        tl.store(q_over + row * heads + head, over, mask=present)

    k = tl.load(source + width, mask=inside, other=0.0).to(tl.float32)
    k, over = _unit(k)
    k = _turn(k, cosine, sine, HEADS, HALF)
    tl.store(k_out + kept, k.to(k_out.dtype.element_ty), mask=inside)
    if SAVE:
        tl.store(k_over + row * heads + head, over, mask=present)

    v = tl.load(source + 2 * width, mask=inside, other=0.0).to(tl.float32)
    v += tl.load(v_bias + columns, mask=inside, other=0.0).to(tl.float32)
    tl.store(v_out + kept, v.to(v_out.dtype.element_ty), mask=inside)


@triton.jit
def _through_unit(grad, unit, over):
    """Gradient of x from that of x / ‖x‖, of unit x / ‖x‖ and over 1 / ‖x‖."""
    along = tl.sum(grad * unit, axis=1)
    return (grad - unit * along[:, None]) * over[:, None]


@triton.jit(do_not_specialize=["length"])
def _backward(
    q_grad, k_grad, v_grad, q_out, k_out, q_over, k_over, log_scale, table, grad,
    length, heads, table_stride,
    q_batch, q_row, q_head, k_batch, k_row, k_head, v_batch, v_row, v_head,
    HEADS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    """One token, all heads, a program; the incoming gradients may lie in any order of heads."""
    row = tl.program_id(0)
    batch, position = (row // length).to(tl.int64), (row % length).to(tl.int64)
    width = heads * 2 * HALF
    head = tl.arange(0, HEADS)
    present = head < heads
    channel = tl.arange(0, 2 * HALF)[None, :]
    columns = head[:, None] * (2 * HALF) + channel
    inside = columns < width
    angle = position * HALF + tl.arange(0, HALF)
    cosine = tl.load(table + angle)[None, :]
    sine = tl.load(table + table_stride + angle)[None, :]
    target = grad + row.to(tl.int64) * (3 * width) + columns
    at = row.to(tl.int64) * width + columns

    above = q_grad + batch * q_batch + position * q_row + head[:, None] * q_head + channel
    gradient = tl.load(above, mask=inside, other=0.0).to(tl.float32)
    gradient = _turn(gradient, cosine, -sine, HEADS, HALF)
    unit = tl.load(q_out + at, mask=inside, other=0.0).to(tl.float32)
    temperature = tl.load(log_scale + head, mask=present, other=0.0).to(tl.float32)
    temperature = tl.exp(tl.minimum(temperature, _LARGEST_LOG))[:, None]
    unit = _turn(unit, cosine, -sine, HEADS, HALF) / temperature
    over = tl.load(q_over + row * heads + head, mask=present, other=0.0)
    gradient = _through_unit(gradient * temperature, unit, over)
    tl.store(target, gradient.to(grad.dtype.element_ty), mask=inside)

    above = k_grad + batch * k_batch + position * k_row + head[:, None] * k_head + channel
    gradient = tl.load(above, mask=inside, other=0.0).to(tl.float32)
    gradient = _turn(gradient, cosine, -sine, HEADS, HALF)
    unit = tl.load(k_out + at, mask=inside, other=0.0).to(tl.float32)
    unit = _turn(unit, cosine, -sine, HEADS, HALF)
    over = tl.load(k_over + row * heads + head, mask=present, other=0.0)
    gradient = _through_unit(gradient, unit, over)
    tl.store(target + width, gradient.to(grad.dtype.element_ty), mask=inside)

    above = v_grad + batch * v_batch + position * v_row + head[:, None] * v_head + channel
    gradient = tl.load(above, mask=inside, other=0.0)
    tl.store(target + 2 * width, gradient.to(grad.dtype.element_ty), mask=inside)


def _run(
    qkv: Tensor,
    q_bias: Tensor,
    v_bias: Tensor,
    log_scale: Tensor,
    table: Tensor,
    *,
    kv_buffer: tuple[Tensor, Tensor] | None = None,
    keep: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
    """Return q, k, v (B, L, H, D) and, with ``keep``, 1 / norm of q and of k, each (B·L, H)."""
    batch, length, _ = qkv.shape
    heads, half = log_scale.numel(), table.shape[-1]
    kept_length = None if kv_buffer is None else _fitting(kv_buffer, qkv.dtype, heads * 2 * half)
    if kv_buffer is None or kept_length is None:
        q, k, v = qkv.new_empty(3, batch, length, heads, 2 * half).unbind(0)
        kept_length = length
    else:
        q = qkv.new_empty(batch, length, heads, 2 * half)
        k, v = (part.transpose(1, 2) for part in kv_buffer)
    q_over = k_over = None
    if keep:
        q_over, k_over = qkv.new_empty(2, batch * length, heads, dtype=torch.float32).unbind(0)
    _forward[(batch * length,)](
        qkv, q_bias, v_bias, log_scale, table, q, k, v, q_over, k_over,
        length, heads, table.stride(0), kept_length,
        SAVE=keep, HEADS=triton.next_power_of_2(heads), HALF=half, num_warps=4,
    )  # fmt: skip
    return q, k, v, q_over, k_over


def _fitting(kv_buffer: tuple[Tensor, Tensor], dtype: torch.dtype, width: int) -> int | None:
    """Return the batch stride, in tokens, of buffers (B, H, L, D) that the kernel can write into.

    Return None if their dtype or strides do not fit.
    """
    keys, values = kv_buffer
    _, _, _, head_width = keys.shape
    tokens, rest = divmod(keys.stride(0), width)
    fits = keys.dtype == values.dtype == dtype and keys.stride() == values.stride() and not rest
    return tokens if fits and keys.stride()[1:] == (head_width, width, 1) else None


class _QueriesKeysValues(torch.autograd.Function):
    """Maps (projection without biases, q and v biases, log scale, table) to q, k, v."""

    @staticmethod
    def forward(ctx: Any, *given: Any) -> tuple[Tensor, Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        q, k, v, q_over, k_over = _run(*given, keep=True)
        ctx.save_for_backward(q, k, q_over, k_over, *given[-2:])
        return q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        q, k, q_over, k_over, log_scale, table = ctx.saved_tensors
        batch, length, heads, width = q.shape
        ready = []
        for gradient in grads:
            if gradient is None:
                gradient = q.new_zeros(()).expand(batch, heads, length, width)
            ready.append(gradient if gradient.stride(-1) == 1 else gradient.contiguous())
        grad = q.new_empty(batch, length, 3 * heads * width)
        strides = [stride for g in ready for stride in (g.stride(0), g.stride(2), g.stride(1))]
        _backward[(batch * length,)](
            *ready, q, k, q_over, k_over, log_scale, table, grad,
            length, heads, table.stride(0), *strides,
            HEADS=triton.next_power_of_2(heads), HALF=width // 2, num_warps=4,
        )  # fmt: skip
        return grad, None, None, None, None


def queries_keys_values(
    qkv: Tensor,
    q_bias: Tensor,
    v_bias: Tensor,
    log_scale: Tensor,
    table: Tensor,
    kv_buffer: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Split a projection into queries, keys and values; normalise, scale and rotate them.

    Args:
        qkv: Projection without biases, (B, L, 3·H·D).
        q_bias: Bias of the queries, (H·D,).
        v_bias: Bias of the values, (H·D,).
        log_scale: Logarithm of the temperature of each head, H numbers.
        table: Cosines and sines of the tokens, (2, L, D / 2) fp32, with contiguous rows.
        kv_buffer: Buffers for keys and values, each (B, H, L, D); used only without gradients.

    Returns:
        Queries, keys and values: (B, H, L, D) views of (B, L, H, D). Gradients reach only ``qkv``.
    """
    qkv = qkv.contiguous()
    if torch.is_grad_enabled():
        return _QueriesKeysValues.apply(qkv, q_bias, v_bias, log_scale, table)
    q, k, v, _, _ = _run(qkv, q_bias, v_bias, log_scale, table, kv_buffer=kv_buffer)
    return q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
