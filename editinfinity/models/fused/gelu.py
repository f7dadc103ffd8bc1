"""GELU (tanh); the backward pass overwrites the incoming gradient to save memory."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 4096


@triton.jit
def gelu_and_slope(u):
    """Return the GELU (tanh) of fp32 u, and its derivative; ½(1 + tanh z) is the sigmoid of 2z."""
    square = u * u
    # Powers of two and roots are single instructions. root² is 1 / (1 + e⁻²ᶻ), the sigmoid of 2z.
    root = tl.rsqrt(1.0 + tl.exp2(u * (-2.302208198 - 0.1029432407 * square)))
    sigmoid = root * root
    value = u * sigmoid
    return value, sigmoid + (value - value * sigmoid) * (1.595769122 + 0.2140644488 * square)


@triton.jit
def _forward(raw, out, count, BLOCK: tl.constexpr):
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    u = tl.load(raw + offsets, mask=offsets < count, other=0.0).to(tl.float32)
    tl.store(out + offsets, gelu_and_slope(u)[0].to(out.dtype.element_ty), mask=offsets < count)


@triton.jit
def _backward(raw, grad, count, BLOCK: tl.constexpr):
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    u = tl.load(raw + offsets, mask=offsets < count, other=0.0).to(tl.float32)
    grad_out = tl.load(grad + offsets, mask=offsets < count, other=0.0).to(tl.float32)
    grad_raw = grad_out * gelu_and_slope(u)[1]
    tl.store(grad + offsets, grad_raw.to(grad.dtype.element_ty), mask=offsets < count)


class _Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, raw: Tensor) -> Tensor:
        ctx.save_for_backward(raw)
        out = torch.empty_like(raw)
        _forward[(triton.cdiv(raw.numel(), _BLOCK),)](
            raw, out, raw.numel(), BLOCK=_BLOCK, num_warps=8
        )
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (raw,) = ctx.saved_tensors
        grad = grads[0].contiguous()
        _backward[(triton.cdiv(raw.numel(), _BLOCK),)](
            raw, grad, raw.numel(), BLOCK=_BLOCK, num_warps=8
        )
        return grad


def gelu_between_layers(raw: Tensor) -> Tensor:
    """Return the GELU of ``raw``, the output of a linear layer.

    Only another linear layer may use the result, because the backward pass overwrites its gradient.
    """
    return _Gelu.apply(raw.contiguous())
