"""Feed-forward layers under LoRA: the adapter's low rank rides along with passes made anyway.

u = W₁h + b₁ + B₁t₁ with t₁ = A₁·drop(h); g = gelu(u); y = W₂g + b₂ + B₂t₂ with t₂ = A₂·drop(g).
W are frozen; gradients reach h, A and B. Kept for the gradient are h, W₁h + b₁ and the t: masks are
drawn again from their seeds (:mod:`editinfinity.models.fused.dropout`), g is computed again.
Sums over tokens or channels that cross programs are left as partials and added afterwards, in the
same order every time.

Suffixes name dimensions: M tokens of the whole batch, C width, r rank.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from editinfinity.models.fused.dropout import dropped, threshold_of

_TILE_M, _TILE_C = 64, 64
LARGEST_RANK = 64
"""Adapters of a larger rank are left to the plain operations."""


@triton.jit
def _tanh(x):
    return 1.0 - 2.0 / (tl.exp(2.0 * x) + 1.0)


@triton.jit
def _gelu(u):
    """GELU by tanh, and its derivative."""
    inner = 0.7978845608028654 * u * (1.0 + 0.044715 * u * u)
    bent = _tanh(inner)
    slope = 0.7978845608028654 * (1.0 + 3.0 * 0.044715 * u * u)
    value = 0.5 * u * (1.0 + bent)
    return value, 0.5 * (1.0 + bent) + 0.5 * u * (1.0 - bent * bent) * slope


@triton.jit
def _tile(count, width, TILE_M: tl.constexpr, TILE_C: tl.constexpr):
    """Rows, columns, place in memory, index for dropout, and mask of this program's tile."""
    rows = tl.program_id(0) * TILE_M + tl.arange(0, TILE_M)
    columns = tl.program_id(1) * TILE_C + tl.arange(0, TILE_C)
    at = rows.to(tl.int64)[:, None] * width + columns[None, :]
    inside = (rows < count)[:, None] & (columns < width)[None, :]
    return rows, columns, at, at.to(tl.uint32), inside


@triton.jit
def _low(matrix, rows, count, rank, RANK: tl.constexpr):
    """Rows of a matrix (·, rank), (TILE, RANK); what is beyond is 0."""
    ranks = tl.arange(0, RANK)
    inside = (rows < count)[:, None] & (ranks < rank)[None, :]
    return tl.load(matrix + rows[:, None] * rank + ranks[None, :], mask=inside, other=0.0)


@triton.jit
def _dot(a, b):
    """a·b; fp32 operands are multiplied as such, not rounded to tf32."""
    return tl.dot(a, b, input_precision="ieee")


@triton.jit
def _spread(t, rows, count, b, columns, width, rank, RANK: tl.constexpr):
    """The tile of t·bᵀ, fp32."""
    out_of = _low(b, columns, width, rank, RANK)
    return _dot(_low(t, rows, count, rank, RANK), tl.trans(out_of))


@triton.jit
def _sum_over_channels(tile, b, columns, width, target, rows, count, rank, RANK: tl.constexpr):
    """One program's part of tile·b, into partial matrices (parts, count, rank) fp32."""
    total = _dot(tile, _low(b, columns, width, rank, RANK))
    _store_low(target, total, tl.program_id(1) * count + rows, rows < count, rank, RANK)


@triton.jit
def _sum_over_tokens(tile, t, rows, count, target, columns, width, rank, RANK: tl.constexpr):
    """One program's part of tileᵀ·t, into partial matrices (parts, width, rank) fp32."""
    total = _dot(tl.trans(tile), _low(t, rows, count, rank, RANK))
    _store_low(target, total, tl.program_id(0) * width + columns, columns < width, rank, RANK)


@triton.jit
def _store_low(target, value, part, present, rank, RANK: tl.constexpr):
    """(TILE, RANK) into those rows of a matrix (·, rank) that are present."""
    ranks = tl.arange(0, RANK)
    at = part.to(tl.int64)[:, None] * rank + ranks[None, :]
    tl.store(target + at, value, mask=present[:, None] & (ranks < rank)[None, :])


@triton.jit(do_not_specialize=["count", "seed", "threshold"])
def _project(
    x, a, t, count, width, rank, seed, threshold,
    DROP: tl.constexpr, RANK: tl.constexpr, TILE_M: tl.constexpr, TILE_C: tl.constexpr,
):  # fmt: skip
    """Partials of t = drop(x)·a over channels."""
    rows, columns, at, index, inside = _tile(count, width, TILE_M, TILE_C)
    seen = dropped(tl.load(x + at, mask=inside, other=0.0), index, seed, threshold, DROP)
    _sum_over_channels(seen, a, columns, width, t, rows, count, rank, RANK)


@triton.jit(do_not_specialize=["count", "seed", "threshold"])
def _bend_forward(
    raw, t1, b1, a2, g, t2, count, width, rank, seed, threshold,
    DROP: tl.constexpr, RANK: tl.constexpr, TILE_M: tl.constexpr, TILE_C: tl.constexpr,
):  # fmt: skip
    """G = gelu(raw + t1·b1ᵀ), and partials of t2 = drop(g)·a2 over channels."""
    rows, columns, at, index, inside = _tile(count, width, TILE_M, TILE_C)
    u = tl.load(raw + at, mask=inside, other=0.0).to(tl.float32)
    u += _spread(t1, rows, count, b1, columns, width, rank, RANK)
    bent = _gelu(u)[0].to(g.dtype.element_ty)
    tl.store(g + at, bent, mask=inside)
    seen = dropped(bent, index, seed, threshold, DROP)
    _sum_over_channels(seen, a2, columns, width, t2, rows, count, rank, RANK)


@triton.jit(do_not_specialize=["count", "seed", "threshold"])
def _bend_backward(
    grad_g, raw, t1, b1, a2, t2_grad, grad_u, t1_grad, b1_grad, a2_grad,
    count, width, rank, seed, threshold,
    DROP: tl.constexpr, RANK: tl.constexpr, TILE_M: tl.constexpr, TILE_C: tl.constexpr,
):  # fmt: skip
    """Through the second adapter's input, the GELU and the first adapter's output.

    ``grad_u`` may be ``grad_g``. Partials: of t1's gradient over channels; of b1's and of a2's over
    tokens.
    """
    rows, columns, at, index, inside = _tile(count, width, TILE_M, TILE_C)
    u = tl.load(raw + at, mask=inside, other=0.0).to(tl.float32)
    u += _spread(t1, rows, count, b1, columns, width, rank, RANK)
    bent, slope = _gelu(u)
    through = _spread(t2_grad, rows, count, a2, columns, width, rank, RANK)
    through = dropped(through, index, seed, threshold, DROP)
    gradient = tl.load(grad_g + at, mask=inside, other=0.0).to(tl.float32) + through
    gradient = tl.where(inside, gradient * slope, 0.0).to(grad_u.dtype.element_ty)
    tl.store(grad_u + at, gradient, mask=inside)
    _sum_over_channels(gradient, b1, columns, width, t1_grad, rows, count, rank, RANK)
    _sum_over_tokens(gradient, t1, rows, count, b1_grad, columns, width, rank, RANK)
    seen = dropped(bent.to(grad_u.dtype.element_ty), index, seed, threshold, DROP)
    _sum_over_tokens(seen, t2_grad, rows, count, a2_grad, columns, width, rank, RANK)


@triton.jit(do_not_specialize=["count", "seed", "threshold"])
def _project_backward(
    grad, x, a, t_grad, out, a_grad, count, width, rank, seed, threshold,
    DROP: tl.constexpr, RANK: tl.constexpr, TILE_M: tl.constexpr, TILE_C: tl.constexpr,
):  # fmt: skip
    """Out = grad + drop(t_grad·aᵀ), out may be grad; partials of a's gradient over tokens."""
    rows, columns, at, index, inside = _tile(count, width, TILE_M, TILE_C)
    through = _spread(t_grad, rows, count, a, columns, width, rank, RANK)
    through = dropped(through, index, seed, threshold, DROP)
    total = tl.load(grad + at, mask=inside, other=0.0).to(tl.float32) + through
    tl.store(out + at, total.to(out.dtype.element_ty), mask=inside)
    seen = dropped(tl.load(x + at, mask=inside, other=0.0), index, seed, threshold, DROP)
    _sum_over_tokens(seen, t_grad, rows, count, a_grad, columns, width, rank, RANK)


@dataclass(frozen=True)
class LowRank:
    """A LoRA adapter of one linear layer: s·B·A·drop(x).

    Attributes:
        a: (r, inputs).
        b: (outputs, r).
        scaling: s.
        rate: of the dropout; 0 outside of training.
    """

    a: Tensor
    b: Tensor
    scaling: float
    rate: float


class _AdaptedFeedForward(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        h: Tensor,
        w1: Tensor,
        bias1: Tensor,
        a1: Tensor,
        b1: Tensor,
        w2: Tensor,
        bias2: Tensor,
        a2: Tensor,
        b2: Tensor,
        scalings: tuple[float, float],
        rates: tuple[float, float],
        seeds: tuple[int, int],
    ) -> Tensor:
        x = h.reshape(-1, h.shape[-1])
        into1, out1, into2, out2 = _ready(x.dtype, (a1, b1, a2, b2), scalings, rates)
        passes = _Passes(len(x), out1.shape[1], x)
        t1 = passes.project(x, into1, rates[0], seeds[0])
        raw = F.linear(x, w1, bias1)
        g, t2 = passes.bend(raw, t1, out1, into2, rates[1], seeds[1])
        y = F.linear(g, w2, bias2)
        y.addmm_(t2, out2.T)
        ctx.save_for_backward(x, raw, t1, t2, w1, w2, into1, out1, into2, out2)
        ctx.scalings, ctx.rates, ctx.seeds, ctx.shape = scalings, rates, seeds, h.shape
        return y.view(*h.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        x, raw, t1, t2, w1, w2, into1, out1, into2, out2 = ctx.saved_tensors
        passes = _Passes(len(x), out1.shape[1], x)
        dy = grads[0].reshape(len(x), -1)
        t2_grad = dy @ out2
        b2_grad = (dy.T @ t2).float() * ctx.scalings[1]
        grad_g = dy @ w2
        # Into the same memory: nobody else has the gradient of g.
        grad_u, t1_grad, b1_grad, a2_grad = passes.bend_backward(
            grad_g, raw, t1, out1, into2, t2_grad, ctx.rates[1], ctx.seeds[1]
        )
        grad_h, a1_grad = passes.project_backward(
            grad_u @ w1, x, into1, t1_grad, ctx.rates[0], ctx.seeds[0]
        )
        spread1, spread2 = (1 / (1 - rate) for rate in ctx.rates)
        return (
            grad_h.view(ctx.shape), None, None,
            a1_grad.T * spread1, b1_grad * ctx.scalings[0], None, None,
            a2_grad.T * spread2, b2_grad, None, None, None,
        )  # fmt: skip


def _ready(
    dtype: torch.dtype,
    matrices: tuple[Tensor, Tensor, Tensor, Tensor],
    scalings: tuple[float, float],
    rates: tuple[float, float],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A as (inputs, r) with dropout's factor 1 / (1 − rate), B as (outputs, r) with the scaling."""
    a1, b1, a2, b2 = matrices

    def of(matrix: Tensor, factor: float) -> Tensor:
        return (matrix * factor).to(dtype).contiguous()

    return (
        of(a1.T, 1 / (1 - rates[0])),
        of(b1, scalings[0]),
        of(a2.T, 1 / (1 - rates[1])),
        of(b2, scalings[1]),
    )


class _Passes:
    """The kernels over M tokens at one rank."""

    def __init__(self, count: int, rank: int, like: Tensor) -> None:
        self.count, self.rank, self.device = count, rank, like.device
        self.options = {
            "RANK": max(16, triton.next_power_of_2(rank)),
            "TILE_M": _TILE_M,
            "TILE_C": _TILE_C,
        }
        self.row_tiles = triton.cdiv(count, _TILE_M)

    def project(self, x: Tensor, a: Tensor, rate: float, seed: int) -> Tensor:
        """T (M, r) = drop(x)·a, in x's dtype."""
        width = x.shape[1]
        parts = self._over_channels(width)
        _project[self._grid(width)](
            x, a, parts, self.count, width, self.rank, seed, threshold_of(rate),
            DROP=rate > 0, **self.options,
        )  # fmt: skip
        return parts.sum(0).to(x.dtype)

    def bend(
        self, raw: Tensor, t1: Tensor, b1: Tensor, a2: Tensor, rate: float, seed: int
    ) -> tuple[Tensor, Tensor]:
        """G (M, 4C) and t2 (M, r)."""
        width = raw.shape[1]
        g, parts = torch.empty_like(raw), self._over_channels(width)
        _bend_forward[self._grid(width)](
            raw, t1, b1, a2, g, parts, self.count, width, self.rank, seed, threshold_of(rate),
            DROP=rate > 0, **self.options,
        )  # fmt: skip
        return g, parts.sum(0).to(raw.dtype)

    def bend_backward(
        self,
        grad_g: Tensor,
        raw: Tensor,
        t1: Tensor,
        b1: Tensor,
        a2: Tensor,
        t2_grad: Tensor,
        rate: float,
        seed: int,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Gradients of u (in place of g's), t1, b1 and a2 (4C, r), the last two without factors."""
        width = raw.shape[1]
        t1_grad = self._over_channels(width)
        b1_grad, a2_grad = self._over_tokens(width), self._over_tokens(width)
        _bend_backward[self._grid(width)](
            grad_g, raw, t1, b1, a2, t2_grad, grad_g, t1_grad, b1_grad, a2_grad,
            self.count, width, self.rank, seed, threshold_of(rate),
            DROP=rate > 0, **self.options,
        )  # fmt: skip
        return grad_g, t1_grad.sum(0).to(raw.dtype), b1_grad.sum(0), a2_grad.sum(0)

    def project_backward(
        self, grad: Tensor, x: Tensor, a: Tensor, t_grad: Tensor, rate: float, seed: int
    ) -> tuple[Tensor, Tensor]:
        """Gradients of x (in place of ``grad``, which it adds to) and of a, without its factor."""
        width = x.shape[1]
        a_grad = self._over_tokens(width)
        _project_backward[self._grid(width)](
            grad, x, a, t_grad, grad, a_grad, self.count, width, self.rank, seed,
            threshold_of(rate), DROP=rate > 0, **self.options,
        )  # fmt: skip
        return grad, a_grad.sum(0)

    def _grid(self, width: int) -> tuple[int, int]:
        return self.row_tiles, triton.cdiv(width, _TILE_C)

    def _over_channels(self, width: int) -> Tensor:
        return self._partials(triton.cdiv(width, _TILE_C), self.count)

    def _over_tokens(self, width: int) -> Tensor:
        return self._partials(self.row_tiles, width)

    def _partials(self, parts: int, rows: int) -> Tensor:
        return torch.empty(parts, rows, self.rank, device=self.device)


def adapted_feed_forward(
    h: Tensor, first: torch.nn.Linear, second: torch.nn.Linear, low1: LowRank, low2: LowRank
) -> Tensor:
    """Both layers with their adapters, h (B, L, C) → (B, L, C); the layers themselves are frozen.

    Dropout's seeds come from torch's generator on the CPU, so that gradient checkpointing, which
    puts that back, draws the same masks twice.
    """
    seeds = torch.randint(2**31, (2,)).tolist()
    return _AdaptedFeedForward.apply(
        h, first.weight, first.bias, low1.a, low1.b, second.weight, second.bias, low2.a, low2.b,
        (low1.scaling, low2.scaling), (low1.rate, low2.rate), tuple(seeds),
    )  # fmt: skip
