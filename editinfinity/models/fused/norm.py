"""Residual sum and modulated layer norm in one kernel, and their gradients in another.

y = x + branch·gate and h = layer_norm(y)·scale + shift. For the backward pass, only the normalised
y, in the dtype of h, and 1/σ of each token are saved; y itself is not needed.

Dimensions: B batch, L tokens, C width.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from editinfinity.models.operations import EPSILON

_ROWS = 32
"""Number of tokens per program if it sums gradients over tokens."""

_SHARED_WIDTH = 2048
"""Maximum width at which three tokens at a time fit into the shared memory of any GPU.

Wider layers load two tokens at a time.
"""


@triton.jit(do_not_specialize=["length"])
def _forward(
    x, branch, gate, scale, shift, total, out, normalized, inverse,
    length, width, gate_stride, scale_stride, shift_stride, epsilon,
    BRANCH: tl.constexpr, GATE: tl.constexpr, NORM: tl.constexpr, SAVE: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Compute y, h and the values to save; each program processes one token."""
    row = tl.program_id(0)
    batch = row // length
    columns = tl.arange(0, BLOCK)
    inside = columns < width
    offsets = row.to(tl.int64) * width + columns
    value = tl.load(x + offsets, mask=inside, other=0.0)
    if BRANCH:
        added = tl.load(branch + offsets, mask=inside, other=0.0).to(tl.float32)
        if GATE:
            added = added * tl.load(gate + batch * gate_stride + columns, mask=inside, other=0.0)
        value = value + added
        tl.store(total + offsets, value, mask=inside)
    if NORM:
        mean = tl.sum(value, axis=0) / width
        centred = tl.where(inside, value - mean, 0.0)
        inverse_sigma = 1.0 / tl.sqrt(tl.sum(centred * centred, axis=0) / width + epsilon)
        unit = centred * inverse_sigma
        if SAVE:
            tl.store(normalized + offsets, unit.to(normalized.dtype.element_ty), mask=inside)
            tl.store(inverse + row, inverse_sigma)
        factor = tl.load(scale + batch * scale_stride + columns, mask=inside, other=0.0)
        offset = tl.load(shift + batch * shift_stride + columns, mask=inside, other=0.0)
        tl.store(out + offsets, (unit * factor + offset).to(out.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["length"])
def _backward(
    grad_total, grad_out, normalized, inverse, branch, gate, scale,
    grad_x, grad_branch, sum_scale, sum_shift, sum_gate,
    length, width, gate_stride, scale_stride,
    TOTAL: tl.constexpr, NORM: tl.constexpr, BRANCH: tl.constexpr, GATE: tl.constexpr,
    MODULATION: tl.constexpr, GATE_GRADIENT: tl.constexpr,
    ROWS: tl.constexpr, STAGES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Compute gradients; each program processes ``ROWS`` tokens of one sample.

    Of sums over tokens (the gradients of scale, shift and gate), it stores one partial sum.
    """
    batch = tl.program_id(1)
    columns = tl.arange(0, BLOCK)
    inside = columns < width
    scale_grad = tl.zeros([BLOCK], tl.float32)
    shift_grad = tl.zeros([BLOCK], tl.float32)
    gate_grad = tl.zeros([BLOCK], tl.float32)
    for step in tl.range(ROWS, num_stages=STAGES):
        position = tl.program_id(0) * ROWS + step
        valid = inside & (position < length)
        row = batch * length + position
        offsets = row.to(tl.int64) * width + columns
        gradient = tl.zeros([BLOCK], tl.float32)
        if NORM:
            incoming = tl.load(grad_out + offsets, mask=valid, other=0.0).to(tl.float32)
            unit = tl.load(normalized + offsets, mask=valid, other=0.0).to(tl.float32)
            inverse_sigma = tl.load(inverse + row, mask=position < length, other=0.0)
            factor = tl.load(scale + batch * scale_stride + columns, mask=inside, other=0.0)
            scaled = incoming * factor
            mean = tl.sum(scaled, axis=0) / width
            projection = tl.sum(scaled * unit, axis=0) / width
            gradient = (scaled - mean - unit * projection) * inverse_sigma
            if MODULATION:
                scale_grad += incoming * unit
                shift_grad += incoming
        if TOTAL:
            gradient += tl.load(grad_total + offsets, mask=valid, other=0.0)
        if NORM:
            tl.store(grad_x + offsets, gradient, mask=valid)
        if BRANCH:
            to_branch = gradient
            if GATE:
                to_branch *= tl.load(gate + batch * gate_stride + columns, mask=inside, other=0.0)
            tl.store(grad_branch + offsets, to_branch.to(grad_branch.dtype.element_ty), mask=valid)
            if GATE_GRADIENT:
                added = tl.load(branch + offsets, mask=valid, other=0.0).to(tl.float32)
                gate_grad += gradient * added
    target = (batch * tl.num_programs(0) + tl.program_id(0)).to(tl.int64) * width + columns
    if MODULATION:
        tl.store(sum_scale + target, scale_grad, mask=inside)
        tl.store(sum_shift + target, shift_grad, mask=inside)
    if GATE_GRADIENT:
        tl.store(sum_gate + target, gate_grad, mask=inside)


def _strided(vector: Tensor | None, batch: int) -> tuple[Tensor | None, int]:
    """Return a vector (C,), (1, 1, C) or (B, 1, C) in fp32 with stride 1, and its batch stride.

    The batch stride is 0 if all samples share the vector.
    """
    if vector is None:
        return None, 0
    if vector.dtype != torch.float32 or vector.stride(-1) != 1:
        vector = vector.float().contiguous()
    if vector.ndim == 1 or len(vector) == 1:
        return vector, 0
    if len(vector) != batch:
        raise ValueError(f"{tuple(vector.shape)} does not broadcast over a batch of {batch}")
    return vector, vector.stride(0)


def _launch_shape(width: int) -> dict[str, int]:
    block = triton.next_power_of_2(width)
    return {"BLOCK": block, "num_warps": min(16, max(1, block // 512))}


def _run(
    x: Tensor,
    branch: Tensor | None,
    gate: Tensor | None,
    scale: Tensor | None,
    shift: Tensor | None,
    dtype: torch.dtype | None,
    save: bool,
) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
    """Return y (None without a branch), h (None without a scale), the normalised y and 1/σ.

    The last two are None unless ``save`` is set and there is a scale.
    """
    batch, length, width = x.shape
    (scale, scale_stride), (shift, shift_stride) = _strided(scale, batch), _strided(shift, batch)
    gate, gate_stride = _strided(gate, batch)
    total = None if branch is None else torch.empty_like(x)
    out = None if scale is None else torch.empty(x.shape, dtype=dtype, device=x.device)
    normalized = inverse = None
    if save and out is not None:
        normalized, inverse = torch.empty_like(out), x.new_empty(batch * length)
    _forward[(batch * length,)](
        x, branch, gate, scale, shift, total, out, normalized, inverse,
        length, width, gate_stride, scale_stride, shift_stride, EPSILON,
        BRANCH=branch is not None, GATE=gate is not None, NORM=out is not None,
        SAVE=normalized is not None, **_launch_shape(width),
    )  # fmt: skip
    return total, out, normalized, inverse


class _AddNorm(torch.autograd.Function):
    """Maps (x, branch, gate, scale, shift) to (y, h); h is None without a scale."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        branch: Tensor | None,
        gate: Tensor | None,
        scale: Tensor | None,
        shift: Tensor | None,
        dtype: torch.dtype | None,
    ) -> tuple[Tensor, Tensor | None]:
        ctx.set_materialize_grads(False)
        total, out, normalized, inverse = _run(x, branch, gate, scale, shift, dtype, True)
        saved_branch = branch if gate is not None and ctx.needs_input_grad[2] else None
        ctx.save_for_backward(normalized, inverse, saved_branch, gate, scale)
        ctx.shape, ctx.device = x.shape, x.device
        vectors = {"gate": gate, "scale": scale, "shift": shift}
        ctx.shapes = {name: None if v is None else v.shape for name, v in vectors.items()}
        ctx.branch_dtype = None if branch is None else branch.dtype
        return (x.view_as(x) if total is None else total), out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        grad_total, grad_out = (None if g is None else g.contiguous() for g in grads)
        normalized, inverse, branch, gate, scale = ctx.saved_tensors
        batch, length, width = ctx.shape
        modulation = ctx.needs_input_grad[3] or ctx.needs_input_grad[4]
        scale, scale_stride = _strided(scale, batch)
        gate, gate_stride = _strided(gate, batch)
        grad_x = grad_branch = None
        if normalized is not None:
            grad_out = torch.zeros_like(normalized) if grad_out is None else grad_out
            grad_x = torch.empty(ctx.shape, device=ctx.device)
        if ctx.branch_dtype is not None:
            grad_branch = torch.empty(ctx.shape, dtype=ctx.branch_dtype, device=ctx.device)
        sum_names = ["scale", "shift"] * modulation + ["gate"] * (branch is not None)
        rows = _ROWS if sum_names else 1
        programs = triton.cdiv(length, rows)
        # One tensor for all partial sums, so that a single reduction adds them up.
        partials = torch.empty(len(sum_names), batch, programs, width, device=ctx.device)
        sums = dict(zip(sum_names, partials, strict=True))
        _backward[(programs, batch)](
            grad_total, grad_out, normalized, inverse, branch, gate, scale, grad_x, grad_branch,
            sums.get("scale"), sums.get("shift"), sums.get("gate"),
            length, width, gate_stride, scale_stride,
            TOTAL=grad_total is not None, NORM=grad_x is not None, BRANCH=grad_branch is not None,
            GATE=gate is not None, MODULATION=modulation, GATE_GRADIENT=branch is not None,
            ROWS=rows, STAGES=3 if width <= _SHARED_WIDTH else 2, **_launch_shape(width),
        )  # fmt: skip
        totals = dict(zip(sum_names, partials.sum(2), strict=True))
        gate_grad, scale_grad, shift_grad = (
            _reduced(totals.get(name), shape) for name, shape in ctx.shapes.items()
        )
        grad_x = grad_total if grad_x is None else grad_x
        return grad_x, grad_branch, gate_grad, scale_grad, shift_grad, None


def _reduced(total: Tensor | None, shape: torch.Size | None) -> Tensor | None:
    """Return the gradient of a vector from its sums (B, C) per sample; None if not required."""
    if total is None or shape is None:
        return None
    shared = len(shape) == 1 or shape[0] == 1
    return (total.sum(0, keepdim=True) if shared else total).reshape(shape)


def add_norm(
    x: Tensor,
    branch: Tensor | None,
    gate: Tensor | None,
    scale: Tensor | None,
    shift: Tensor | None,
    dtype: torch.dtype | None,
) -> tuple[Tensor, Tensor]:
    """See :meth:`~editinfinity.models.operations.Operations.add_norm`."""
    x, branch = x.contiguous(), None if branch is None else branch.contiguous()
    if torch.is_grad_enabled():
        return _AddNorm.apply(x, branch, gate, scale, shift, dtype)
    total, out, _, _ = _run(x, branch, gate, scale, shift, dtype, False)
    return x if total is None else total, out  # type: ignore[return-value]


def add(x: Tensor, branch: Tensor, gate: Tensor) -> Tensor:
    """Return x + branch·gate."""
    return add_norm(x, branch, gate, None, None, None)[0]
