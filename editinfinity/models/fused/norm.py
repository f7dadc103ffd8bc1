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
    """One token a program."""
    row = tl.program_id(0)
    batch = row // length
    columns = tl.arange(0, BLOCK)
    inside = columns < width
    at = row.to(tl.int64) * width + columns
    value = tl.load(x + at, mask=inside, other=0.0)
    if BRANCH:
        added = tl.load(branch + at, mask=inside, other=0.0).to(tl.float32)
        if GATE:
            added = added * tl.load(gate + batch * gate_stride + columns, mask=inside, other=0.0)
        value = value + added
        tl.store(total + at, value, mask=inside)
    if NORM:
        mean = tl.sum(value, axis=0) / width
        centred = tl.where(inside, value - mean, 0.0)
        over_sigma = 1.0 / tl.sqrt(tl.sum(centred * centred, axis=0) / width + epsilon)
        unit = centred * over_sigma
        if SAVE:
            tl.store(normalized + at, unit.to(normalized.dtype.element_ty), mask=inside)
            tl.store(inverse + row, over_sigma)
        factor = tl.load(scale + batch * scale_stride + columns, mask=inside, other=0.0)
        offset = tl.load(shift + batch * shift_stride + columns, mask=inside, other=0.0)
        tl.store(out + at, (unit * factor + offset).to(out.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["length"])
def _backward(
    grad_total, grad_out, normalized, inverse, branch, gate, scale,
    grad_x, grad_branch, sum_scale, sum_shift, sum_gate,
    length, width, gate_stride, scale_stride,
    TOTAL: tl.constexpr, NORM: tl.constexpr, BRANCH: tl.constexpr, GATE: tl.constexpr,
    MODULATION: tl.constexpr, GATE_GRADIENT: tl.constexpr,
    ROWS: tl.constexpr, STAGES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """``ROWS`` tokens of one sample a program; sums over tokens are left as one partial each."""
    batch = tl.program_id(1)
    columns = tl.arange(0, BLOCK)
    inside = columns < width
    of_scale = tl.zeros([BLOCK], tl.float32)
    of_shift = tl.zeros([BLOCK], tl.float32)
    of_gate = tl.zeros([BLOCK], tl.float32)
    for step in tl.range(ROWS, num_stages=STAGES):
        position = tl.program_id(0) * ROWS + step
        here = inside & (position < length)
        row = batch * length + position
        at = row.to(tl.int64) * width + columns
        gradient = tl.zeros([BLOCK], tl.float32)
        if NORM:
            above = tl.load(grad_out + at, mask=here, other=0.0).to(tl.float32)
            unit = tl.load(normalized + at, mask=here, other=0.0).to(tl.float32)
            over_sigma = tl.load(inverse + row, mask=position < length, other=0.0)
            factor = tl.load(scale + batch * scale_stride + columns, mask=inside, other=0.0)
            scaled = above * factor
            mean = tl.sum(scaled, axis=0) / width
            along = tl.sum(scaled * unit, axis=0) / width
            gradient = (scaled - mean - unit * along) * over_sigma
            if MODULATION:
                of_scale += above * unit
                of_shift += above
        if TOTAL:
            gradient += tl.load(grad_total + at, mask=here, other=0.0)
        if NORM:
            tl.store(grad_x + at, gradient, mask=here)
        if BRANCH:
            to_branch = gradient
            if GATE:
                to_branch *= tl.load(gate + batch * gate_stride + columns, mask=inside, other=0.0)
            tl.store(grad_branch + at, to_branch.to(grad_branch.dtype.element_ty), mask=here)
            if GATE_GRADIENT:
                added = tl.load(branch + at, mask=here, other=0.0).to(tl.float32)
                of_gate += gradient * added
    partial = (batch * tl.num_programs(0) + tl.program_id(0)).to(tl.int64) * width + columns
    if MODULATION:
        tl.store(sum_scale + partial, of_scale, mask=inside)
        tl.store(sum_shift + partial, of_shift, mask=inside)
    if GATE_GRADIENT:
        tl.store(sum_gate + partial, of_gate, mask=inside)


def _rows(vector: Tensor | None, batch: int) -> tuple[Tensor | None, int]:
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
    keep: bool,
) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
    """Return y (None without a branch), h (None without a scale), the normalised y and 1/σ.

    The last two are None unless ``keep`` is set and there is a scale.
    """
    batch, length, width = x.shape
    (scale, scale_stride), (shift, shift_stride) = _rows(scale, batch), _rows(shift, batch)
    gate, gate_stride = _rows(gate, batch)
    total = None if branch is None else torch.empty_like(x)
    out = None if scale is None else torch.empty(x.shape, dtype=dtype, device=x.device)
    normalized = inverse = None
    if keep and out is not None:
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
        kept = branch if gate is not None and ctx.needs_input_grad[2] else None
        ctx.save_for_backward(normalized, inverse, kept, gate, scale)
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
        scale, scale_stride = _rows(scale, batch)
        gate, gate_stride = _rows(gate, batch)
        grad_x = grad_branch = None
        if normalized is not None:
            grad_out = torch.zeros_like(normalized) if grad_out is None else grad_out
            grad_x = torch.empty(ctx.shape, device=ctx.device)
        if ctx.branch_dtype is not None:
            grad_branch = torch.empty(ctx.shape, dtype=ctx.branch_dtype, device=ctx.device)
        summed = ["scale", "shift"] * modulation + ["gate"] * (branch is not None)
        rows = _ROWS if summed else 1
        programs = triton.cdiv(length, rows)
        # One tensor for all partial sums, so that a single reduction adds them up.
        partials = torch.empty(len(summed), batch, programs, width, device=ctx.device)
        into = dict(zip(summed, partials, strict=True))
        _backward[(programs, batch)](
            grad_total, grad_out, normalized, inverse, branch, gate, scale, grad_x, grad_branch,
            into.get("scale"), into.get("shift"), into.get("gate"),
            length, width, gate_stride, scale_stride,
            TOTAL=grad_total is not None, NORM=grad_x is not None, BRANCH=grad_branch is not None,
            GATE=gate is not None, MODULATION=modulation, GATE_GRADIENT=branch is not None,
            ROWS=rows, STAGES=3 if width <= _SHARED_WIDTH else 2, **_launch_shape(width),
        )  # fmt: skip
        totals = dict(zip(summed, partials.sum(2), strict=True))
        of_gate, of_scale, of_shift = (
            _of_shape(totals.get(name), shape) for name, shape in ctx.shapes.items()
        )
        grad_x = grad_total if grad_x is None else grad_x
        return grad_x, grad_branch, of_gate, of_scale, of_shift, None


def _of_shape(total: Tensor | None, shape: torch.Size | None) -> Tensor | None:
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
