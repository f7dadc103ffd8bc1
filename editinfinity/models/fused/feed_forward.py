"""Feed-forward layers with LoRA; the LoRA products are fused with GELU, dropout and gradients.

u = W₁h + bias₁ + s₁B₁t₁ with t₁ = A₁·drop(h); g = gelu(u); y = W₂g + bias₂ + s₂B₂t₂ with
t₂ = A₂·drop(g), and drop(x) = x / (1 − rate) where kept, else 0. The kernels get ``down`` =
A / (1 − rate) and ``up`` = s·Bᵀ, and only mask. W are frozen; gradients reach h, A and B.

The forward pass saves h, W₁h + bias₁ (``raw``), t₁ and t₂ for the backward pass, which recomputes
g and the dropout masks, the latter from their seeds (:mod:`editinfinity.models.fused.dropout`). For
sums over tokens or channels across programs, each program writes a partial sum; the partial sums
are added afterwards, always in the same order.

Dimensions: M tokens of the whole batch, C width, r rank.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from editinfinity.models.fused.dropout import dropout, threshold_of
from editinfinity.models.fused.gelu import gelu_and_slope

MAX_RANK = 32
"""Maximum rank of a LoRA adapter; the plain operations compute adapters of a larger rank."""

_PROGRAMS = 2048
"""Target number of programs of one warp each: about as many as a large GPU runs at once."""

_STAGES = 4
"""Pipeline stages of the loop over tokens: the number of tokens that are loaded at a time."""


@triton.jit
def _load_columns(matrix, columns, width, RANK: tl.constexpr):
    """Return columns (RANK, TILE) of a matrix (RANK, width) fp32; 0 beyond the width."""
    offsets = tl.arange(0, RANK)[:, None] * width + columns[None, :]
    return tl.load(matrix + offsets, mask=(columns < width)[None, :], other=0.0)


@triton.jit
def _load_row(matrix, row, RANK: tl.constexpr):
    """Return a row of a matrix (·, RANK) fp32, as (RANK, 1)."""
    return tl.load(matrix + row * RANK + tl.arange(0, RANK))[:, None]


@triton.jit
def _store_row(matrices, value, row, count, RANK: tl.constexpr):
    """Store value (RANK,) as a row of this program's matrix in ``matrices`` (·, count, RANK)."""
    offsets = (tl.program_id(1) * count + row).to(tl.int64) * RANK
    tl.store(matrices + offsets + tl.arange(0, RANK), value)


@triton.jit
def _store_matrix(matrices, value, part, columns, width, RANK: tl.constexpr):
    """Store value (RANK, TILE) as columns of matrix ``part`` of ``matrices`` (·, RANK, width)."""
    offsets = (part * RANK + tl.arange(0, RANK)[:, None]) * width + columns[None, :]
    tl.store(matrices + offsets, value, mask=(columns < width)[None, :])


@triton.jit(do_not_specialize=["count", "threshold", "steps"])
def _down_forward(
    x, a, t, count, width, seed, threshold, steps,
    DROP: tl.constexpr, RANK: tl.constexpr, TILE: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Write partial sums over channels of t = drop(x)·aᵀ."""
    columns = tl.program_id(1) * TILE + tl.arange(0, TILE)
    inside = columns < width
    down = _load_columns(a, columns, width, RANK)
    start = tl.program_id(0) * steps
    for step in tl.range(0, tl.minimum(steps, count - start), num_stages=STAGES):
        row = start + step
        offsets = row.to(tl.int64) * width + columns
        dropped = tl.load(x + offsets, mask=inside, other=0.0).to(tl.float32)
        dropped = dropout(dropped, offsets.to(tl.uint32), seed, threshold, DROP)
        _store_row(t, tl.sum(dropped[None, :] * down, 1), row, count, RANK)


@triton.jit(do_not_specialize=["count", "threshold", "steps"])
def _gelu_forward(
    raw, t1, b1, a2, g, t2, count, width, seed, threshold, steps,
    DROP: tl.constexpr, RANK: tl.constexpr, TILE: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Write g = gelu(raw + t1·b1), and partial sums over channels of t2 = drop(g)·a2ᵀ."""
    columns = tl.program_id(1) * TILE + tl.arange(0, TILE)
    inside = columns < width
    up1 = _load_columns(b1, columns, width, RANK)
    down2 = _load_columns(a2, columns, width, RANK)
    start = tl.program_id(0) * steps
    for step in tl.range(0, tl.minimum(steps, count - start), num_stages=STAGES):
        row = start + step
        offsets = row.to(tl.int64) * width + columns
        u = tl.load(raw + offsets, mask=inside, other=0.0).to(tl.float32)
        u += tl.sum(_load_row(t1, row, RANK) * up1, 0)
        activation = gelu_and_slope(u)[0].to(g.dtype.element_ty)
        tl.store(g + offsets, activation, mask=inside)
        dropped = dropout(activation.to(tl.float32), offsets.to(tl.uint32), seed, threshold, DROP)
        _store_row(t2, tl.sum(dropped[None, :] * down2, 1), row, count, RANK)


@triton.jit(do_not_specialize=["count", "threshold", "steps"])
def _gelu_backward(
    grad_g, raw, t1, b1, a2, t2_grad, grad_u, t1_grad, b1_grad, a2_grad,
    count, width, seed, threshold, steps,
    DROP: tl.constexpr, RANK: tl.constexpr, TILE: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Propagate gradients through the second adapter's input, the GELU and the first's output.

    Writes ``grad_u``, which may be ``grad_g``, and partial sums: of t1's gradient over channels, of
    the gradients of b1 and a2 over tokens.
    """
    columns = tl.program_id(1) * TILE + tl.arange(0, TILE)
    inside = columns < width
    up1 = _load_columns(b1, columns, width, RANK)
    down2 = _load_columns(a2, columns, width, RANK)
    b1_sum = tl.zeros([RANK, TILE], tl.float32)
    a2_sum = tl.zeros([RANK, TILE], tl.float32)
    start = tl.program_id(0) * steps
    for step in tl.range(0, tl.minimum(steps, count - start), num_stages=STAGES):
        row = start + step
        offsets = row.to(tl.int64) * width + columns
        index = offsets.to(tl.uint32)
        t1_row, t2_grad_row = _load_row(t1, row, RANK), _load_row(t2_grad, row, RANK)
        u = tl.load(raw + offsets, mask=inside, other=0.0).to(tl.float32)
        activation, slope = gelu_and_slope(u + tl.sum(t1_row * up1, 0))
        gradient = tl.load(grad_g + offsets, mask=inside, other=0.0).to(tl.float32)
        gradient += dropout(tl.sum(t2_grad_row * down2, 0), index, seed, threshold, DROP)
        gradient *= slope
        tl.store(grad_u + offsets, gradient.to(grad_u.dtype.element_ty), mask=inside)
        t1_grad_row = tl.sum(gradient[None, :] * up1, 1)
        _store_row(t1_grad, t1_grad_row, row, count, RANK)
        b1_sum += t1_row * gradient[None, :]
        a2_sum += t2_grad_row * dropout(activation, index, seed, threshold, DROP)[None, :]
    _store_matrix(b1_grad, b1_sum, tl.program_id(0), columns, width, RANK)
    _store_matrix(a2_grad, a2_sum, tl.program_id(0), columns, width, RANK)


@triton.jit(do_not_specialize=["count", "threshold", "steps"])
def _down_backward(
    grad, x, a, t_grad, out, a_grad, count, width, seed, threshold, steps,
    DROP: tl.constexpr, RANK: tl.constexpr, TILE: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Write out = grad + drop(t_grad·a), and partial sums over tokens of a's gradient.

    ``out`` may be ``grad``.
    """
    columns = tl.program_id(1) * TILE + tl.arange(0, TILE)
    inside = columns < width
    down = _load_columns(a, columns, width, RANK)
    a_sum = down * 0.0  # zeros in the same layout; with another one, masks are hashed twice
    start = tl.program_id(0) * steps
    for step in tl.range(0, tl.minimum(steps, count - start), num_stages=STAGES):
        row = start + step
        offsets = row.to(tl.int64) * width + columns
        index = offsets.to(tl.uint32)
        t_grad_row = _load_row(t_grad, row, RANK)
        total = tl.load(grad + offsets, mask=inside, other=0.0).to(tl.float32)
        total += dropout(tl.sum(t_grad_row * down, 0), index, seed, threshold, DROP)
        tl.store(out + offsets, total.to(out.dtype.element_ty), mask=inside)
        dropped = tl.load(x + offsets, mask=inside, other=0.0).to(tl.float32)
        a_sum += t_grad_row * dropout(dropped, index, seed, threshold, DROP)[None, :]
    _store_matrix(a_grad, a_sum, tl.program_id(0), columns, width, RANK)


@triton.jit(do_not_specialize=["count", "steps"])
def _up_backward(
    grad, t, b, t_grad, b_grad, count, width, steps,
    RANK: tl.constexpr, TILE: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Write the gradients of t·b: partial sums of t's over channels and of b's over tokens."""
    columns = tl.program_id(1) * TILE + tl.arange(0, TILE)
    inside = columns < width
    up = _load_columns(b, columns, width, RANK)
    b_sum = up * 0.0
    start = tl.program_id(0) * steps
    for step in tl.range(0, tl.minimum(steps, count - start), num_stages=STAGES):
        row = start + step
        offsets = row.to(tl.int64) * width + columns
        grad_row = tl.load(grad + offsets, mask=inside, other=0.0).to(tl.float32)
        _store_row(t_grad, tl.sum(grad_row[None, :] * up, 1), row, count, RANK)
        b_sum += _load_row(t, row, RANK) * grad_row[None, :]
    _store_matrix(b_grad, b_sum, tl.program_id(0), columns, width, RANK)


@dataclass(frozen=True)
class LowRank:
    """LoRA adapter of one linear layer: s·B·A·drop(x).

    Attributes:
        a: Matrix A, (r, inputs).
        b: Matrix B, (outputs, r).
        scaling: Factor s.
        rate: Dropout rate; 0 outside training.
    """

    a: Tensor
    b: Tensor
    scaling: float
    rate: float


class _Dropout(NamedTuple):
    """Dropout of the input of an adapter in one forward pass: its rate, and its seed (1,) int64."""

    rate: float
    seed: Tensor

    @property
    def factor(self) -> float:
        """Factor 1 / (1 − rate) for the kept values, which preserves their expected value."""
        return 1 / (1 - self.rate)


class _AdaptedFeedForward(torch.autograd.Function):
    """The computation of :func:`adapted_feed_forward`, with its gradients (formulas: see above)."""

    @staticmethod
    def forward(
        ctx: Any,
        scalings: tuple[float, float],
        drops: tuple[_Dropout, _Dropout],
        h: Tensor,
        *layers: Tensor,
    ) -> Tensor:
        w1, bias1, a1, b1, w2, bias2, a2, b2 = layers
        x = h.reshape(-1, h.shape[-1]).contiguous()
        launcher = _Launcher(len(x), len(a1), x.device)
        down1, down2 = (launcher.padded(a * d.factor) for a, d in zip((a1, a2), drops, strict=True))
        up1, up2 = launcher.padded(b1.T * scalings[0]), launcher.padded(b2.T * scalings[1])
        (t1,) = launcher.run(_down_forward, x, down1, drop=drops[0], row_sums=True)
        raw = F.linear(x, w1, bias1)
        g = torch.empty_like(raw)
        (t2,) = launcher.run(_gelu_forward, raw, t1, up1, down2, g, drop=drops[1], row_sums=True)
        y = F.linear(g, w2, bias2)
        y.addmm_(to_multiple_of_8(t2, x.dtype), to_multiple_of_8(up2.T, x.dtype).T)
        ctx.save_for_backward(x, raw, t1, t2, w1, w2, down1, up1, down2, up2)
        ctx.scalings, ctx.drops, ctx.rank, ctx.shape = scalings, drops, len(a1), h.shape
        return y.view(*h.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        x, raw, t1, t2, w1, w2, down1, up1, down2, up2 = ctx.saved_tensors
        launcher = _Launcher(len(x), ctx.rank, x.device)
        drop1, drop2 = ctx.drops
        dy = grads[0].reshape(len(x), -1).contiguous()
        t2_grad, b2_grad = launcher.run(_up_backward, dy, t2, up2, row_sums=True, matrices=1)
        grad = dy @ w2  # of g; the kernel overwrites it with the gradient of u, to save memory
        t1_grad, b1_grad, a2_grad = launcher.run(
            _gelu_backward, grad, raw, t1, up1, down2, t2_grad, grad,
            drop=drop2, row_sums=True, matrices=2,
        )  # fmt: skip
        # If h needs no gradient, the kernel still computes that of A₁, and ``grad`` is not used.
        grad = grad @ w1 if ctx.needs_input_grad[2] else torch.zeros_like(x)
        (a1_grad,) = launcher.run(
            _down_backward, grad, x, down1, t1_grad, grad, drop=drop1, matrices=1
        )
        # From the gradients of ``down`` and ``up`` to those of A and B.
        rank, (scaling1, scaling2) = ctx.rank, ctx.scalings
        return (
            None, None, grad.view(ctx.shape),
            None, None, a1_grad[:rank] * drop1.factor, b1_grad[:rank].T * scaling1,
            None, None, a2_grad[:rank] * drop2.factor, b2_grad[:rank].T * scaling2,
        )  # fmt: skip


def to_multiple_of_8(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """Pad a matrix (·, R) with zeros to a multiple of 8 columns, for fast matrix products."""
    return F.pad(matrix.to(dtype), (0, -matrix.shape[1] % 8))


class _Launcher:
    """Launches the kernels over M tokens; each warp processes a strip of tokens of some channels.

    The matrices of an adapter are (R, ·) and (M, R) fp32. R is the rank, rounded up to a power of
    two; the extra rows and columns are zero.
    """

    def __init__(self, count: int, rank: int, device: torch.device) -> None:
        self.count, self.rank, self.device = count, triton.next_power_of_2(rank), device
        self.tile = max(32, min(256, 1024 // self.rank))

    def padded(self, matrix: Tensor) -> Tensor:
        """Pad a matrix (r, ·) with zeros to (R, ·) fp32, contiguous."""
        if missing := self.rank - len(matrix):
            matrix = F.pad(matrix, (0, 0, 0, missing))
        return matrix.float().contiguous()

    def run(
        self,
        kernel: Any,
        *tensors: Tensor,
        drop: _Dropout | None = None,
        row_sums: bool = False,
        matrices: int = 0,
    ) -> list[Tensor]:
        """Run a kernel and return its outputs, with their partial sums added up.

        The kernel takes the tensors for the partial sums after ``tensors``.

        Args:
            kernel: The kernel.
            tensors: First arguments of the kernel; the first tensor is (M, channels).
            drop: Dropout of the kernel; None if it has none.
            row_sums: Whether it writes a matrix (M, R) as partial sums over channels.
            matrices: Number of matrices (R, channels) it writes as partial sums over tokens.
        """
        width = tensors[0].shape[1]
        tiles = triton.cdiv(width, self.tile)
        steps = triton.cdiv(self.count, max(1, _PROGRAMS // tiles))  # tokens per strip
        strips = triton.cdiv(self.count, steps)
        partials: list[Tensor] = []
        if row_sums:
            partials.append(torch.empty(tiles, self.count, self.rank, device=self.device))
        partials += torch.empty(matrices, strips, self.rank, width, device=self.device)
        options: dict[str, bool] = {}
        dropout_arguments: tuple[Tensor, int] | tuple[()] = ()
        if drop is not None:
            dropout_arguments, options["DROP"] = (drop.seed, threshold_of(drop.rate)), drop.rate > 0
        kernel[strips, tiles](
            *tensors, *partials, self.count, width, *dropout_arguments, steps,
            RANK=self.rank, TILE=self.tile, STAGES=_STAGES, num_warps=1, **options,
        )  # fmt: skip
        return [partial.sum(0) for partial in partials]


def adapted_feed_forward(
    h: Tensor,
    first: torch.nn.Linear,
    second: torch.nn.Linear,
    low1: LowRank,
    low2: LowRank,
    seeds: Tensor,
) -> Tensor:
    """Apply both frozen layers with their adapters, h (B, L, C) → (B, L, C).

    ``seeds`` (2,) int64 are those of the two dropout masks.
    """
    seed1, seed2 = seeds.split(1)
    return _AdaptedFeedForward.apply(
        (low1.scaling, low2.scaling), (_Dropout(low1.rate, seed1), _Dropout(low2.rate, seed2)),
        h, first.weight, first.bias, low1.a, low1.b, second.weight, second.bias, low2.a, low2.b,
    )  # fmt: skip
