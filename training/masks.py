"""Edit masks and their blend masks, batched on the device.

The blend mask is that of :func:`editinfinity.editing.blend_mask.make_blend_mask` with ``linear``
smoothing, resampled to the codes' grid; a test compares the two.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

KERNEL_CELLS = 64
COARSE_BLOCKS_FOR_HARD = 6


def edited_cells(mask: Tensor, cells: int) -> Tensor:
    """Return the cells (B, cells, cells) bool with at least 20 % of pixels in masks (B, H, W)."""
    share = F.adaptive_avg_pool2d(mask[:, None].float(), cells)[:, 0]
    return share >= 0.2 - 1e-6


def make_blend_mask(mask: Tensor, grid: int) -> Tensor:
    """Return G (B, grid, grid) of masks (B, H, W), True = edited: 1 keeps the source, 0 edits."""
    cells = edited_cells(mask, KERNEL_CELLS).float()[:, None]
    cross = torch.tensor([[0.0, 1, 0], [1, 1, 1], [0, 1, 0]], device=mask.device).view(1, 1, 3, 3)
    reached, blend_mask = cells, torch.ones_like(cells)
    rings = [cells]
    for _ in range(4):
        reached = (F.conv2d(reached, cross, padding=1) > 0).float()
        rings.append(reached)
    for value, ring in ((0.75, rings[4]), (0.5, rings[3]), (0.25, rings[2]), (0.0, rings[1])):
        blend_mask = torch.where(ring > 0, value, blend_mask)
    large = edited_cells(mask, 4).sum((1, 2)) >= COARSE_BLOCKS_FOR_HARD
    blend_mask = torch.where(large[:, None, None, None], 1 - rings[1], blend_mask)
    return F.adaptive_avg_pool2d(blend_mask, grid)[:, 0]


def dilate(mask: Tensor, radius: int) -> Tensor:
    """Dilate masks (B, H, W) float in {0, 1} by a square of the given radius."""
    if radius == 0:
        return mask
    side = 2 * radius + 1
    grown = F.max_pool2d(mask[:, None], (side, 1), 1, (radius, 0))
    return F.max_pool2d(grown, (1, side), 1, (0, radius))[:, 0]


def loosen(core: Tensor, style: Tensor) -> Tensor:
    """Return masks as people draw them around a changed region.

    Args:
        core: (B, H, W) bool, pixels that must be inside the mask.
        style: (B,) int: 0 tight, 1 a little wider, 2 wide, 3 the bounding box, 4 its ellipse.

    Returns:
        (B, H, W) bool, never smaller than ``core``.
    """
    base = core.float()
    wider = [dilate(base, radius) for radius in (2, 6, 12)]
    box = _bounding_box(wider[1] > 0)
    ellipse = _ellipse(box)
    options = torch.stack([*[w > 0 for w in wider], box, ellipse], 1)
    picked = options[torch.arange(len(core), device=core.device), style]
    return picked | (wider[0] > 0)


def _bounding_box(mask: Tensor) -> Tensor:
    rows, columns = mask.any(2).float(), mask.any(1).float()
    inside = [
        ((line.cumsum(1) > 0) & (line.flip(1).cumsum(1).flip(1) > 0)) for line in (rows, columns)
    ]
    return inside[0][:, :, None] & inside[1][:, None, :]


def _ellipse(box: Tensor) -> Tensor:
    """Return the ellipse inscribed in each box, slightly enlarged."""
    rows, columns = box.any(2).float(), box.any(1).float()
    distances = []
    for line in (rows, columns):
        position = torch.arange(line.shape[1], device=line.device, dtype=torch.float32)
        extent = line.sum(1).clamp(min=1)
        middle = (line * position).sum(1) / extent
        distances.append((position[None] - middle[:, None]) / (extent[:, None] * 0.62))
    return distances[0].square()[:, :, None] + distances[1].square()[:, None, :] <= 1
