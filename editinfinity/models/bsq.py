"""Multi-scale binary spherical quantisation (BSQ): feature maps ↔ residual bit maps.

A feature map is approximated by a sum of codes, one per scale. At each scale, the residual is
downsampled to the scale's grid and its signs are stored as bits. The code of these bits (±1/√d per
channel, a point on the unit sphere) is upsampled and subtracted from the residual. Source: BSQ
(arXiv 2406.07548), Infinity (arXiv 2412.04431) and docs/model.md, "Bits in place of codebook
indices".

Dimensions: B batch, d bits of a code, h and w grid of a scale, H and W full (last) grid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from editinfinity.scales import Grid

Corruption = Callable[[Tensor], Tensor]
"""Maps the true bits (B, h, w, d) of a scale to the bits on which the next scales build."""


def code_of(bits: Tensor) -> Tensor:
    """Return the code of bits: (B, h, w, d) bool → (B, d, h, w) float with values ±1/√d."""
    signs = bits.to(torch.float32).mul(2).sub(1)
    return signs.permute(0, 3, 1, 2) * bits.shape[-1] ** -0.5


def resized(code: Tensor, grid: Grid, mode: str = "bilinear") -> Tensor:
    """Resize a code, a running sum or a residual (B, d, ·, ·) to another grid.

    Use the default ``bilinear`` mode, without antialiasing, to upsample codes and to downsample
    running sums for the transformer: the released models were trained this way. Use ``area``
    (averaging) to downsample residuals.
    """
    same = tuple(code.shape[-2:]) == tuple(grid)
    return code if same else F.interpolate(code, size=grid, mode=mode)


def upsampled_codes(bits: Sequence[Tensor], grid: Grid) -> list[Tensor]:
    """Return the code on the full grid (B, d, H, W) of the bits (B, h, w, d) of every scale."""
    return [resized(code_of(scale_bits), grid) for scale_bits in bits]


@dataclass(frozen=True)
class Quantized:
    """Result of :func:`quantize`.

    Attributes:
        bits: True bits of the residual at every scale, each (B, h, w, d) bool.
        running: Sum of the codes before each scale, each (B, d, H, W); the first is zero.
        total: Sum of all codes, (B, d, H, W).
    """

    bits: list[Tensor]
    running: list[Tensor]
    total: Tensor


def quantize(
    features: Tensor, scales: Sequence[Grid], corrupt: Corruption | None = None
) -> Quantized:
    """Quantise raw features (B, d, H, W) to bits at each of ``scales``, coarse to fine.

    ``corrupt`` flips bits for bitwise self-correction: the running sum and the residual then use
    the code of the corrupted bits, so the true bits of the later scales correct the error.

    Raises:
        ValueError: The last scale differs from the grid of the features.
    """
    if tuple(features.shape[-2:]) != tuple(scales[-1]):
        raise ValueError(
            f"the features have grid {tuple(features.shape[-2:])}, the last scale {scales[-1]}"
        )
    residual = features.to(torch.float32)
    total = torch.zeros_like(residual)
    bits, running = [], []
    for grid in scales:
        running.append(total)
        # Normalising to the unit sphere does not change signs, so it can be skipped here.
        true_bits = (resized(residual, grid, "area") > 0).permute(0, 2, 3, 1)
        bits.append(true_bits)
        corrupted = corrupt(true_bits) if corrupt else true_bits
        code = resized(code_of(corrupted), scales[-1])
        residual = residual - code
        total = total + code
    return Quantized(bits, running, total)


def fold(code: Tensor, patchify: bool) -> Tensor:
    """Convert cells to tokens, (B, d, h, w) → (B, h·w, d).

    With ``patchify``, 2×2 cells become one token of 4d values, with channel order
    c·4 + 2·dy + dx.
    """
    if patchify:
        code = F.pixel_unshuffle(code, 2)
    return code.flatten(2).transpose(1, 2)


def unfold(tokens: Tensor, grid: Grid, patchify: bool) -> Tensor:
    """Convert tokens to cells (inverse of :func:`fold`); ``grid`` is the transformer's (h, w)."""
    batch, _, width = tokens.shape
    code = tokens.transpose(1, 2).reshape(batch, width, *grid)
    return F.pixel_shuffle(code, 2) if patchify else code
