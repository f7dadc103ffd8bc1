"""Multi-scale binary spherical quantisation (BSQ): feature maps ↔ residual bit maps.

A feature map is approximated by a sum of codes, one a scale. At each scale the residual is shrunk
to the scale's grid, its signs are kept as bits, and the code they stand for (±1/√d a channel, a
point on the unit sphere) is enlarged and subtracted. Source: BSQ (arXiv 2406.07548), Infinity
(arXiv 2412.04431) and docs/model.md, "Bits in place of codebook indices".

Suffixes name dimensions: B batch, d bits of a code, h and w a scale's grid, H and W the full grid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from editinfinity.scales import Grid

Corruption = Callable[[Tensor], Tensor]
"""Takes the true bits (B, h, w, d) of a scale and returns those the next scales build on."""


def code_of(bits: Tensor) -> Tensor:
    """The code that bits stand for: (B, h, w, d) bool → (B, d, h, w) float of ±1/√d."""
    signs = bits.to(torch.float32).mul(2).sub(1)
    return signs.permute(0, 3, 1, 2) * bits.shape[-1] ** -0.5


def resized(code: Tensor, grid: Grid, mode: str = "bilinear") -> Tensor:
    """A code, a sum or a residual (B, d, ·, ·) on another grid.

    Codes are enlarged, and sums shrunk for the transformer, bilinearly and without antialiasing, as
    the released ones were trained; residuals are averaged (``area``).
    """
    same = tuple(code.shape[-2:]) == tuple(grid)
    return code if same else F.interpolate(code, size=grid, mode=mode)


def enlarged(bits: Sequence[Tensor], grid: Grid) -> list[Tensor]:
    """The code (B, d, H, W) on the full grid of every scale's bits (B, h, w, d)."""
    return [resized(code_of(scale_bits), grid) for scale_bits in bits]


@dataclass(frozen=True)
class Quantized:
    """A feature map as bits.

    Attributes:
        bits: the true bits of every scale's residual, (B, h, w, d) bool each.
        running: the sum of codes before each scale, (B, d, H, W) each; the first is zero.
        total: the sum of all codes, (B, d, H, W).
    """

    bits: list[Tensor]
    running: list[Tensor]
    total: Tensor


def quantize(
    features: Tensor, scales: Sequence[Grid], corrupt: Corruption | None = None
) -> Quantized:
    """Write raw features (B, d, H, W) as bits over ``scales``, coarse to fine.

    With ``corrupt`` (bitwise self-correction), later scales see the corrupted code, and their
    true bits are those of the residual it leaves.

    Raises:
        ValueError: the last scale is not the features' grid.
    """
    if tuple(features.shape[-2:]) != tuple(scales[-1]):
        raise ValueError(
            f"features of {tuple(features.shape[-2:])} cells do not end the schedule {scales[-1]}"
        )
    residual = features.to(torch.float32)
    total = torch.zeros_like(residual)
    bits, running = [], []
    for grid in scales:
        running.append(total)
        # The unit sphere's normalisation leaves signs alone, so the residual's own sign is the bit.
        true_bits = (resized(residual, grid, "area") > 0).permute(0, 2, 3, 1)
        bits.append(true_bits)
        seen = corrupt(true_bits) if corrupt else true_bits
        code = resized(code_of(seen), scales[-1])
        residual = residual - code
        total = total + code
    return Quantized(bits, running, total)


def fold(code: Tensor, patchify: bool) -> Tensor:
    """Cells to tokens: (B, d, h, w) → (B, h·w, d), or 2×2 cells to one token of 4d values.

    The folded channel order is c·4 + 2·dy + dx.
    """
    if patchify:
        code = F.pixel_unshuffle(code, 2)
    return code.flatten(2).transpose(1, 2)


def unfold(tokens: Tensor, grid: Grid, patchify: bool) -> Tensor:
    """Tokens to cells, the inverse of :func:`fold`; ``grid`` is the transformer's (h, w)."""
    batch, _, width = tokens.shape
    code = tokens.transpose(1, 2).reshape(batch, width, *grid)
    return F.pixel_shuffle(code, 2) if patchify else code
