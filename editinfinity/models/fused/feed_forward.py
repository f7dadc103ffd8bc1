"""Feed-forward layers with LoRA; the LoRA products are fused with GELU, dropout and gradients.

u = W₁h + b₁ + B₁t₁ with t₁ = A₁·drop(h); g = gelu(u); y = W₂g + b₂ + B₂t₂ with t₂ = A₂·drop(g).
W are frozen; gradients reach h, A and B. The forward pass saves h, W₁h + b₁, t₁ and t₂ for the
backward pass, which recomputes g and the dropout masks, the latter from their seeds
(:mod:`editinfinity.models.fused.dropout`). For sums over tokens or channels across programs, each
program writes a partial sum; the partial sums are added afterwards, always in the same order.

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

from editinfinity.models.fused.dropout import dropped, threshold_of
from editinfinity.models.fused.gelu import gelu_and_slope

LARGEST_RANK = 32
"""Maximum rank of a LoRA adapter; the plain operations compute adapters of a larger rank."""

_PROGRAMS = 2048
"""Target number of programs of one warp each: about as many as a large GPU runs at once."""

_STAGES = 4
"""Pipeline stages of the loop over tokens: the number of tokens that are loaded at a time."""


@triton.jit
def _matrix(low, columns, width, RANK: tl.constexpr):
    """Columns of a matrix (RANK, ·), (RANK, TILE) fp32; what is beyond is 0."""
    at = tl.arange(0, RANK)[:, None] * width + columns[None, :]
    return tl.load(low + at, mask=(columns < width)[None, :], other=0.0)


@triton.jit
def _row(low, row, RANK: tl.constexpr):
    """A row of a matrix (·, RANK) fp32, (RANK, 1)."""
    return tl.load(low + row * RANK + tl.arange(0, RANK))[:, None]


@triton.jit
def _store_row(low, value, row, count, RANK: tl.constexpr):
    """(RANK,) into a row of this program's partial matrix of (parts, count, RANK)."""
    at = (tl.program_id(1) * count + row).to(tl.int64) * RANK
    tl.store(low + at + tl.arange(0, RANK), value)


@triton.jit
def _store_matrix(low, value, part, columns, width, RANK: tl.constexpr):
    """(RANK, TILE) into the columns of partial matrices (parts, RANK, width)."""
    at = (part * RANK + tl.arange(0, RANK)[:, None]) * width + columns[None, :]
    tl.store(low + at, value, mask=(columns < width)[None, :])


@triton.jit(do_not_specialize=["count", "seed", "threshold", "steps"])
def _project(
    x, a, t, count, width, seed, threshold, steps,
    DROP: tl.constexpr, RANK: tl.constexpr, TILE: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Partials of t = drop(x)·aᵀ over channels."""
    columns = tl.program_id(1) * TILE + tl.arange(0, TILE)
    inside = columns < width
    into = _matrix(a, columns, width, RANK)
    start = tl.program_id(0) * steps
    for step in tl.range(0, tl.minimum(steps, count - start), num_stages=STAGES):
        row = start + step
        at = row.to(tl.int64) * width + columns
        dropped_x = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
        dropped_x = dropped(dropped_x, at.to(tl.uint32), seed, threshold, DROP)
        _store_row(t, tl.sum(dropped_x[None, :] * into, 1), row, count, RANK)


@triton.jit(do_not_specialize=["count", "seed", "threshold", "steps"])
def _bend_forward(
    raw, t1, b1, a2, g, t2, count, width, seed, threshold, steps,
    DROP: tl.constexpr, RANK: tl.constexpr, TILE: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """G = gelu(raw + t1·b1), and partials of t2 = drop(g)·a2ᵀ over channels."""
    columns = tl.program_id(1) * TILE + tl.arange(0, TILE)
    inside = columns < width
    out1 = _matrix(b1, columns, width, RANK)
    into2 = _matrix(a2, columns, width, RANK)
    start = tl.program_id(0) * steps
    for step in tl.range(0, tl.minimum(steps, count - start), num_stages=STAGES):
        row = start + step
        at = row.to(tl.int64) * width + columns
        u = tl.load(raw + at, mask=inside, other=0.0).to(tl.float32)
        u += tl.sum(_row(t1, row, RANK) * out1, 0)
        bent = gelu_and_slope(u)[0].to(g.dtype.element_ty)
        tl.store(g + at, bent, mask=inside)
        dropped_x = dropped(bent.to(tl.float32), at.to(tl.uint32), seed, threshold, DROP)
        _store_row(t2, tl.sum(dropped_x[None, :] * into2, 1), row, count, RANK)


@triton.jit(do_not_specialize=["count", "seed", "threshold", "steps"])
def _bend_backward(
    grad_g, raw, t1, b1, a2, t2_grad, grad_u, t1_grad, b1_grad, a2_grad,
    count, width, seed, threshold, steps,
    DROP: tl.constexpr, RANK: tl.constexpr, TILE: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Through the second adapter's input, the GELU and the first adapter's output.

    ``grad_u`` may be ``grad_g``. Partials: of t1's gradient over channels; of b1's and of a2's over
    tokens.
    """
    columns = tl.program_id(1) * TILE + tl.arange(0, TILE)
    inside = columns < width
    out1 = _matrix(b1, columns, width, RANK)
    into2 = _matrix(a2, columns, width, RANK)
    of_b1 = tl.zeros([RANK, TILE], tl.float32)
    of_a2 = tl.zeros([RANK, TILE], tl.float32)
    start = tl.program_id(0) * steps
    for step in tl.range(0, tl.minimum(steps, count - start), num_stages=STAGES):
        row = start + step
        at = row.to(tl.int64) * width + columns
        index = at.to(tl.uint32)
        low1, low2 = _row(t1, row, RANK), _row(t2_grad, row, RANK)
        u = tl.load(raw + at, mask=inside, other=0.0).to(tl.float32)
        bent, slope = gelu_and_slope(u + tl.sum(low1 * out1, 0))
        gradient = tl.load(grad_g + at, mask=inside, other=0.0).to(tl.float32)
        gradient += dropped(tl.sum(low2 * into2, 0), index, seed, threshold, DROP)
        gradient *= slope
        tl.store(grad_u + at, gradient.to(grad_u.dtype.element_ty), mask=inside)
        to_t1 = tl.sum(gradient[None, :] * out1, 1)
        _store_row(t1_grad, to_t1, row, count, RANK)
        of_b1 += low1 * gradient[None, :]
        of_a2 += low2 * dropped(bent, index, seed, threshold, DROP)[None, :]
    _store_matrix(b1_grad, of_b1, tl.program_id(0), columns, width, RANK)
    _store_matrix(a2_grad, of_a2, tl.program_id(0), columns, width, RANK)


@triton.jit(do_not_specialize=["count", "seed", "threshold", "steps"])
def _project_backward(
    grad, x, a, t_grad, out, a_grad, count, width, seed, threshold, steps,
    DROP: tl.constexpr, RANK: tl.constexpr, TILE: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Out = grad + drop(t_grad·a), out may be grad; partials of a's gradient over tokens."""
    columns = tl.program_id(1) * TILE + tl.arange(0, TILE)
    inside = columns < width
    into = _matrix(a, columns, width, RANK)
    of_a = into * 0.0  # zeros laid out as the rest is: else masks are hashed once more
    start = tl.program_id(0) * steps
    for step in tl.range(0, tl.minimum(steps, count - start), num_stages=STAGES):
        row = start + step
        at = row.to(tl.int64) * width + columns
        index = at.to(tl.uint32)
        low = _row(t_grad, row, RANK)
        total = tl.load(grad + at, mask=inside, other=0.0).to(tl.float32)
        total += dropped(tl.sum(low * into, 0), index, seed, threshold, DROP)
        tl.store(out + at, total.to(out.dtype.element_ty), mask=inside)
        dropped_x = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
        of_a += low * dropped(dropped_x, index, seed, threshold, DROP)[None, :]
    _store_matrix(a_grad, of_a, tl.program_id(0), columns, width, RANK)


@triton.jit(do_not_specialize=["count", "steps"])
def _spread_backward(
    grad, t, b, t_grad, b_grad, count, width, steps,
    RANK: tl.constexpr, TILE: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Of t·b: partials of t's gradient over channels, of b's over tokens."""
    columns = tl.program_id(1) * TILE + tl.arange(0, TILE)
    inside = columns < width
    out_of = _matrix(b, columns, width, RANK)
    of_b = out_of * 0.0
    start = tl.program_id(0) * steps
    for step in tl.range(0, tl.minimum(steps, count - start), num_stages=STAGES):
        row = start + step
        at = row.to(tl.int64) * width + columns
        above = tl.load(grad + at, mask=inside, other=0.0).to(tl.float32)
        _store_row(t_grad, tl.sum(above[None, :] * out_of, 1), row, count, RANK)
        of_b += _row(t, row, RANK) * above[None, :]
    _store_matrix(b_grad, of_b, tl.program_id(0), columns, width, RANK)


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


class _Drop(NamedTuple):
    """Dropout of the input of an adapter in one forward pass: its rate and seed."""

    rate: float
    seed: int

    @property
    def spread(self) -> float:
        """Factor 1 / (1 − rate) for the kept values, which preserves their expected value."""
        return 1 / (1 - self.rate)


class _AdaptedFeedForward(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        scalings: tuple[float, float],
        drops: tuple[_Drop, _Drop],
        h: Tensor,
        *layers: Tensor,
    ) -> Tensor:
        w1, bias1, a1, b1, w2, bias2, a2, b2 = layers
        x = h.reshape(-1, h.shape[-1])
        passes = _Passes(len(x), len(a1), x.device)
        into1, into2 = (passes.padded(a * d.spread) for a, d in zip((a1, a2), drops, strict=True))
        out1, out2 = passes.padded(b1.T * scalings[0]), passes.padded(b2.T * scalings[1])
        (t1,) = passes.run(_project, x, into1, drop=drops[0], low=True)
        raw = F.linear(x, w1, bias1)
        g = torch.empty_like(raw)
        (t2,) = passes.run(_bend_forward, raw, t1, out1, into2, g, drop=drops[1], low=True)
        y = F.linear(g, w2, bias2)
        y.addmm_(to_multiple_of_8(t2, x.dtype), to_multiple_of_8(out2.T, x.dtype).T)
        ctx.save_for_backward(x, raw, t1, t2, w1, w2, into1, out1, into2, out2)
        ctx.scalings, ctx.drops, ctx.rank, ctx.shape = scalings, drops, len(a1), h.shape
        return y.view(*h.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        x, raw, t1, t2, w1, w2, into1, out1, into2, out2 = ctx.saved_tensors
        passes = _Passes(len(x), ctx.rank, x.device)
        drop1, drop2 = ctx.drops
        dy = grads[0].reshape(len(x), -1).contiguous()
        t2_grad, b2_grad = passes.run(_spread_backward, dy, t2, out2, low=True, matrices=1)
        # The kernels overwrite ``below`` in place to save memory; nothing else refers to it.
        below = dy @ w2
        t1_grad, b1_grad, a2_grad = passes.run(
            _bend_backward, below, raw, t1, out1, into2, t2_grad, below,
            drop=drop2, low=True, matrices=2,
        )  # fmt: skip
        # The input of the first block may need no gradient.
        below = below @ w1 if ctx.needs_input_grad[2] else torch.zeros_like(x)
        (a1_grad,) = passes.run(
            _project_backward, below, x, into1, t1_grad, below, drop=drop1, matrices=1
        )
        rank, (scaling1, scaling2) = ctx.rank, ctx.scalings
        return (
            None, None, below.view(ctx.shape),
            None, None, a1_grad[:rank] * drop1.spread, b1_grad[:rank].T * scaling1,
            None, None, a2_grad[:rank] * drop2.spread, b2_grad[:rank].T * scaling2,
        )  # fmt: skip


def to_multiple_of_8(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """Pad a matrix (·, R) with zeros to a multiple of 8 columns, for fast matrix products."""
    return F.pad(matrix, (0, -matrix.shape[1] % 8)).to(dtype)


class _Passes:
    """Launches the kernels over M tokens; each warp processes a strip of tokens of some channels.

    The matrices of an adapter are (R, ·) and (M, R) fp32. R is the rank, rounded up to a power of
    two; the extra rows and columns are zero.
    """

    def __init__(self, count: int, rank: int, device: torch.device) -> None:
        self.count, self.rank, self.device = count, triton.next_power_of_2(rank), device
        self.tile = max(32, min(256, 1024 // self.rank))

    def padded(self, matrix: Tensor) -> Tensor:
        """Pad a matrix (r, ·) with zeros to (R, ·) fp32, contiguous."""
        return F.pad(matrix.float(), (0, 0, 0, self.rank - len(matrix))).contiguous()

    def run(
        self,
        kernel: Any,
        *given: Tensor,
        drop: _Drop | None = None,
        low: bool = False,
        matrices: int = 0,
    ) -> list[Tensor]:
        """Run a kernel and return its outputs, with their partial sums added up.

        The kernel takes the tensors for the partial sums after the tensors ``given``.

        Args:
            kernel: The kernel.
            given: Its other tensors; the first is (M, channels).
            drop: Its dropout; None if it has none.
            low: Whether it writes a matrix (M, R) as partial sums over channels.
            matrices: Number of matrices (R, channels) it writes as partial sums over tokens.
        """
        width = given[0].shape[1]
        tiles = triton.cdiv(width, self.tile)
        steps = triton.cdiv(self.count, max(1, _PROGRAMS // tiles))  # tokens per strip
        strips = triton.cdiv(self.count, steps)
        partials: list[Tensor] = []
        if low:
            partials.append(torch.empty(tiles, self.count, self.rank, device=self.device))
        partials += torch.empty(matrices, strips, self.rank, width, device=self.device)
        options: dict[str, bool] = {}
        dropout: tuple[int, ...] = ()
        if drop is not None:
            dropout, options["DROP"] = (drop.seed, threshold_of(drop.rate)), drop.rate > 0
        kernel[strips, tiles](
            *given, *partials, self.count, width, *dropout, steps,
            RANK=self.rank, TILE=self.tile, STAGES=_STAGES, num_warps=1, **options,
        )  # fmt: skip
        return [partial.sum(0) for partial in partials]


def adapted_feed_forward(
    h: Tensor, first: torch.nn.Linear, second: torch.nn.Linear, low1: LowRank, low2: LowRank
) -> Tensor:
    """Apply both frozen layers with their adapters, h (B, L, C) → (B, L, C).

    The dropout seeds come from torch's CPU generator. Gradient checkpointing restores its state, so
    the recomputation uses the same masks.
    """
    seed1, seed2 = torch.randint(2**31, (2,)).tolist()
    return _AdaptedFeedForward.apply(
        (low1.scaling, low2.scaling), (_Drop(low1.rate, seed1), _Drop(low2.rate, seed2)),
        h, first.weight, first.bias, low1.a, low1.b, second.weight, second.bias, low2.a, low2.b,
    )  # fmt: skip
