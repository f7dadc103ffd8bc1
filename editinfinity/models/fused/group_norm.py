"""Group normalisation and swish in two passes: one for the moments, one for the output.

PyTorch's kernel assigns each group to one multiprocessor. The decoder has few, large groups, so
most of the GPU would be idle. Here, many programs share a group and their moments are combined
afterwards.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 4096
_PARTS = 64
"""Maximum number of programs per group."""


@triton.jit
def _moments(x, means, squares, size, part_size, BLOCK: tl.constexpr):
    """Store the mean, and the sum of squared distances from it, of a part of a group."""
    group, part = tl.program_id(0).to(tl.int64), tl.program_id(1)
    first = part * part_size
    count = tl.minimum(size - first, part_size)
    total = tl.zeros([BLOCK], tl.float32)
    for start in range(0, count, BLOCK):
        offsets = start + tl.arange(0, BLOCK)
        total += tl.load(x + group * size + first + offsets, mask=offsets < count, other=0.0)
    mean = tl.sum(total, axis=0) / count
    square = tl.zeros([BLOCK], tl.float32)
    for start in range(0, count, BLOCK):
        offsets = start + tl.arange(0, BLOCK)
        inside = offsets < count
        value = tl.load(x + group * size + first + offsets, mask=inside, other=0.0) - mean
        square += tl.where(inside, value * value, 0.0)
    at = group * tl.num_programs(1) + part
    tl.store(means + at, mean)
    tl.store(squares + at, tl.sum(square, axis=0))


@triton.jit
def _scale_swish(x, out, factor, offset, size, BLOCK: tl.constexpr):
    """Store swish(x·factor + offset) of one channel of one sample; each program takes a block."""
    channel = tl.program_id(0).to(tl.int64)
    offsets = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = offsets < size
    value = tl.load(x + channel * size + offsets, mask=inside, other=0.0)
    value = value * tl.load(factor + channel) + tl.load(offset + channel)
    tl.store(out + channel * size + offsets, value / (1.0 + tl.exp(-value)), mask=inside)


def group_norm_swish(norm: torch.nn.GroupNorm, x: Tensor) -> Tensor:
    """Return swish(norm(x)) of x (B, C, H, W) fp32; it does not support gradients."""
    x = x.contiguous()
    batch, channels, height, width = x.shape
    groups = norm.num_groups
    size = channels // groups * height * width
    part_size = triton.cdiv(size, 16 * _PARTS) * 16  # multiples of 16 load faster
    parts = -(-size // part_size)
    means, squares = x.new_empty(2, batch * groups, parts).unbind(0)
    _moments[(batch * groups, parts)](x, means, squares, size, part_size, BLOCK=_BLOCK)
    counts = torch.full((parts,), part_size, device=x.device, dtype=torch.float32)
    counts[-1] = size - part_size * (parts - 1)
    mean = (means * counts).sum(1, keepdim=True) / size
    between_parts = (counts * (means - mean).square()).sum(1, keepdim=True)
    inverse_sigma = ((squares.sum(1, keepdim=True) + between_parts) / size + norm.eps).rsqrt()
    per_channel = (batch, groups, channels // groups)
    factor = inverse_sigma.view(batch, groups, 1).expand(per_channel).reshape(batch, channels)
    factor = factor * norm.weight
    offset = mean.view(batch, groups, 1).expand(per_channel).reshape(batch, channels)
    offset = norm.bias - offset * factor
    out, area = torch.empty_like(x), height * width
    grid = (batch * channels, triton.cdiv(area, _BLOCK))
    _scale_swish[grid](x, out, factor, offset, area, BLOCK=_BLOCK)
    return out
