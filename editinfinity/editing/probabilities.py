"""Bits as probabilities and log-odds, for the methods that compare two prompts.

Dimensions: B batch, L tokens of a scale, d bits of a token.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from editinfinity.models import bsq
from editinfinity.scales import ScaleSchedule


def odds_of(logits: Tensor) -> Tensor:
    """Return the log-odds of bit 1, (…), of logits (…, 2)."""
    return logits[..., 1] - logits[..., 0]


def logits_of(odds: Tensor) -> Tensor:
    """Return logits (…, 2) with the log-odds (…), which may be infinite (a certain bit)."""
    return torch.stack([torch.zeros_like(odds), odds], dim=-1)


def probability_of_one(logits: Tensor, tau: float = 1.0) -> Tensor:
    """Return the probability of bit 1, (…), at a temperature, of logits (…, 2)."""
    return torch.sigmoid(odds_of(logits) / tau)


def disagreement(source: Tensor, target: Tensor, bits: Tensor) -> Tensor:
    """Return how much less likely the target prompt makes the photograph's bits than the source.

    Args:
        source: Probability of bit 1 with the source prompt, (B, L, d).
        target: The same with the target prompt.
        bits: The photograph's bits r, bool.

    Returns:
        P_source(r) − P_target(r), (B, L, d), in [−1, 1].
    """
    return torch.where(bits, source - target, target - source)


def token_bits(
    bits: Iterable[NDArray[np.bool_]], schedule: ScaleSchedule, device: torch.device
) -> list[Tensor]:
    """Return the photograph's bits (h, w, ·) of each scale in the model's order, (1, L, d)."""
    cells = (torch.from_numpy(each)[None].to(device).permute(0, 3, 1, 2).float() for each in bits)
    return [bsq.fold(each, schedule.patchify) > 0.5 for each in cells]


def mask_at(mask: Tensor, scale: int, schedule: ScaleSchedule) -> Tensor:
    """Return a mask (H, W) of the final grid, resized bilinearly to a scale's tokens, (L, 1)."""
    return bsq.resized(mask[None, None], schedule.scales[scale]).reshape(-1, 1)
