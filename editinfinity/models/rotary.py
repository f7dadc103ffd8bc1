"""Two-dimensional rotary position embedding shared by all scales.

The positions of every scale are stretched to the aspect ratio's finest grid at 1M pixels, so a
coarse cell has the angles of a fine cell that it covers. Source: docs/model.md, "Transformer".
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from editinfinity.scales import Grid, ScaleSchedule


def _positions(count: int, reference: int) -> Tensor:
    """Return indices 0…count−1 stretched to ``reference`` rows; fp32, halves rounded to even."""
    return torch.round(torch.arange(count, dtype=torch.float32) * (reference / count))


def _scale_angles(grid: Grid, reference: Grid, head_width: int) -> Tensor:
    """Return the angles of one scale, (h·w, head_width / 2): row angles, then column angles."""
    half = head_width // 2
    frequencies = 10000.0 ** -(torch.arange(0, half, 2, dtype=torch.float32) / half)
    rows = _positions(grid[0], reference[0])[:, None] * frequencies
    columns = _positions(grid[1], reference[1])[:, None] * frequencies
    per_cell = (
        rows[:, None, :].expand(grid[0], grid[1], -1),
        columns[None, :, :].expand(grid[0], grid[1], -1),
    )
    return torch.cat(per_cell, dim=-1).flatten(0, 1)


@lru_cache(maxsize=32)
def rotary_table(schedule: ScaleSchedule, head_width: int, device: torch.device) -> Tensor:
    """Return the cosines and sines of every token, (2, L, head_width / 2) fp32."""
    # The cache may be filled while sampling; inference tensors could not be used for training.
    with torch.inference_mode(False):
        angles = torch.cat(
            [_scale_angles(grid, schedule.reference_grid, head_width) for grid in schedule.scales]
        )
        return torch.stack([angles.cos(), angles.sin()]).to(device)


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Rotate consecutive channel pairs of x (B, heads, L, head_width) by ``table`` (2, L, ·)."""
    cos, sin = table
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    rotated = torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1)
    return rotated.flatten(-2).to(x.dtype)
