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

_MIN_NORM = tl.constexpr(1e-12)
_MAX_LOG = tl.constexpr(MAX_LOG_SCALE)


@triton.jit
def _rotate(x, cosine, sine, HEADS: tl.constexpr, HALF: tl.constexpr):
    """Return x (HEADS, 2·HALF) with its consecutive pairs rotated by angles (1, HALF)."""
    even, odd = tl.split(tl.reshape(x, (HEADS, HALF, 2)))
    rotated = tl.join(even * cosine - odd * sine, even * sine + odd * cosine)
    return tl.reshape(rotated, (HEADS, 2 * HALF))


@triton.jit
def _normalize(x):
    """Return the rows of x divided by their norms, and 1 / norm of each row."""
    inverse = 1.0 / tl.maximum(tl.sqrt(tl.sum(x * x, axis=1)), _MIN_NORM)
    return x * inverse[:, None], inverse


@triton.jit(do_not_specialize=["length", "kv_length"])
def _forward(
    qkv, q_bias, v_bias, log_scale, table, q_out, k_out, v_out, q_inv, k_inv,
    length, heads, table_stride, kv_length,
    SAVE: tl.constexpr, HEADS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    """Compute q, k and v; each program processes all heads of one token."""
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
    offsets = row.to(tl.int64) * width + columns
    # Keys and values may be written into a buffer that also contains those of other tokens.
    kv_offsets = ((row // length).to(tl.int64) * kv_length + row % length) * width + columns

    q = tl.load(source, mask=inside, other=0.0).to(tl.float32)
    q += tl.load(q_bias + columns, mask=inside, other=0.0).to(tl.float32)
    q, inverse = _normalize(q)
    temperature = tl.load(log_scale + head, mask=present, other=0.0).to(tl.float32)
    q = q * tl.exp(tl.minimum(temperature, _MAX_LOG))[:, None]
    q = _rotate(q, cosine, sine, HEADS, HALF)
    tl.store(q_out + offsets, q.to(q_out.dtype.element_ty), mask=inside)
    if SAVE:
        tl.store(q_inv + row * heads + head, inverse, mask=present)

    k = tl.load(source + width, mask=inside, other=0.0).to(tl.float32)
    k, inverse = _normalize(k)
    k = _rotate(k, cosine, sine, HEADS, HALF)
    tl.store(k_out + kv_offsets, k.to(k_out.dtype.element_ty), mask=inside)
    if SAVE:
        tl.store(k_inv + row * heads + head, inverse, mask=present)

    v = tl.load(source + 2 * width, mask=inside, other=0.0).to(tl.float32)
    v += tl.load(v_bias + columns, mask=inside, other=0.0).to(tl.float32)
    tl.store(v_out + kv_offsets, v.to(v_out.dtype.element_ty), mask=inside)


@triton.jit
def _normalize_backward(grad, unit, inverse):
    """Return the gradient of x from that of ``unit`` = x / ‖x‖; ``inverse`` is 1 / ‖x‖."""
    projection = tl.sum(grad * unit, axis=1)
    return (grad - unit * projection[:, None]) * inverse[:, None]


@triton.jit(do_not_specialize=["length"])
def _backward(
    q_grad, k_grad, v_grad, q_out, k_out, q_inv, k_inv, log_scale, table, grad,
    length, heads, table_stride,
    q_batch, q_row, q_head, k_batch, k_row, k_head, v_batch, v_row, v_head,
    HEADS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    """Compute the gradient of the projection; each program processes all heads of one token.

    The incoming gradients may have any strides, except that channels must be contiguous.
    """
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
    offsets = row.to(tl.int64) * width + columns

    source = q_grad + batch * q_batch + position * q_row + head[:, None] * q_head + channel
    gradient = tl.load(source, mask=inside, other=0.0).to(tl.float32)
    gradient = _rotate(gradient, cosine, -sine, HEADS, HALF)
    unit = tl.load(q_out + offsets, mask=inside, other=0.0).to(tl.float32)
    temperature = tl.load(log_scale + head, mask=present, other=0.0).to(tl.float32)
    temperature = tl.exp(tl.minimum(temperature, _MAX_LOG))[:, None]
    unit = _rotate(unit, cosine, -sine, HEADS, HALF) / temperature
    inverse = tl.load(q_inv + row * heads + head, mask=present, other=0.0)
    gradient = _normalize_backward(gradient * temperature, unit, inverse)
    tl.store(target, gradient.to(grad.dtype.element_ty), mask=inside)

    source = k_grad + batch * k_batch + position * k_row + head[:, None] * k_head + channel
    gradient = tl.load(source, mask=inside, other=0.0).to(tl.float32)
    gradient = _rotate(gradient, cosine, -sine, HEADS, HALF)
    unit = tl.load(k_out + offsets, mask=inside, other=0.0).to(tl.float32)
    unit = _rotate(unit, cosine, -sine, HEADS, HALF)
    inverse = tl.load(k_inv + row * heads + head, mask=present, other=0.0)
    gradient = _normalize_backward(gradient, unit, inverse)
    tl.store(target + width, gradient.to(grad.dtype.element_ty), mask=inside)

    source = v_grad + batch * v_batch + position * v_row + head[:, None] * v_head + channel
    gradient = tl.load(source, mask=inside, other=0.0)
    tl.store(target + 2 * width, gradient.to(grad.dtype.element_ty), mask=inside)


def _run(
    qkv: Tensor,
    q_bias: Tensor,
    v_bias: Tensor,
    log_scale: Tensor,
    table: Tensor,
    *,
    kv_buffer: tuple[Tensor, Tensor] | None = None,
    save: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
    """Return q, k, v (B, L, H, D) and, with ``save``, 1 / norm of q and of k, each (B·L, H)."""
    batch, length, _ = qkv.shape
    heads, half = log_scale.numel(), table.shape[-1]
    kv_length = None if kv_buffer is None else _kv_stride(kv_buffer, qkv.dtype, heads * 2 * half)
    if kv_buffer is None or kv_length is None:
        q, k, v = qkv.new_empty(3, batch, length, heads, 2 * half).unbind(0)
        kv_length = length
    else:
        q = qkv.new_empty(batch, length, heads, 2 * half)
        k, v = (part.transpose(1, 2) for part in kv_buffer)
    q_inv = k_inv = None
    if save:
        q_inv, k_inv = qkv.new_empty(2, batch * length, heads, dtype=torch.float32).unbind(0)
    _forward[(batch * length,)](
        qkv, q_bias, v_bias, log_scale, table, q, k, v, q_inv, k_inv,
        length, heads, table.stride(0), kv_length,
        SAVE=save, HEADS=triton.next_power_of_2(heads), HALF=half, num_warps=4,
    )  # fmt: skip
    return q, k, v, q_inv, k_inv


def _kv_stride(kv_buffer: tuple[Tensor, Tensor], dtype: torch.dtype, width: int) -> int | None:
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
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        q, k, v, q_inv, k_inv = _run(*arguments, save=True)
        ctx.save_for_backward(q, k, q_inv, k_inv, *arguments[-2:])
        return q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        q, k, q_inv, k_inv, log_scale, table = ctx.saved_tensors
        batch, length, heads, width = q.shape
        incoming = []
        for gradient in grads:
            if gradient is None:
                gradient = q.new_zeros(()).expand(batch, heads, length, width)
            incoming.append(gradient if gradient.stride(-1) == 1 else gradient.contiguous())
        grad = q.new_empty(batch, length, 3 * heads * width)
        strides = [stride for g in incoming for stride in (g.stride(0), g.stride(2), g.stride(1))]
        _backward[(batch * length,)](
            *incoming, q, k, q_inv, k_inv, log_scale, table, grad,
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
