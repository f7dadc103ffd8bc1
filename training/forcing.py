"""Teacher forcing for editing: training inputs that equal those of blended sampling.

While editing, the running sum has the source's codes outside the mask and generated codes inside
(``E = G·source + (1 − G)·generated`` at every scale). Training uses exactly such sums, so that
generated content fits the kept surroundings. With G = 0 this is plain teacher forcing.
Source of the noise: Infinity's bitwise self-correction (arXiv 2412.04431).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from editinfinity.inversion.teacher_forcing import token_weights
from editinfinity.models import bsq
from editinfinity.models.transformer import TextFeatures
from editinfinity.scales import ScaleSchedule

LEARNED_ROWS = 20
"""Number of learned vectors that the method appends to a text."""


def blended(
    target: Tensor,
    source: Tensor,
    blend_mask: Tensor,
    schedule: ScaleSchedule,
    corrupt: bsq.Corruption | None,
) -> bsq.Quantized:
    """Quantise ``target``, with the source's codes blended in according to the blend mask.

    Args:
        target, source: raw features (B, d, H, W).
        blend_mask: (B, H, W), G: 1 keeps the source.
        corrupt: noise on the generated bits; the source's bits are exact, as in editing.

    Returns:
        The true bits of the residual that each blended sum leaves, and the sums.
    """
    scales = schedule.tokenizer_scales
    theirs = bsq.quantize(source, scales)
    keep = blend_mask[:, None]
    total = torch.zeros_like(target, dtype=torch.float32)
    bits, running = [], []
    for grid, their_bits in zip(scales, theirs.bits, strict=True):
        running.append(total)
        true_bits = (bsq.resized(target.float() - total, grid, "area") > 0).permute(0, 2, 3, 1)
        bits.append(true_bits)
        seen = corrupt(true_bits) if corrupt else true_bits
        generated = bsq.resized(bsq.code_of(seen), scales[-1])
        kept = bsq.resized(bsq.code_of(their_bits), scales[-1])
        total = total + keep * kept + (1 - keep) * generated
    return bsq.Quantized(bits, running, total)


def region_weights(blend_mask: Tensor, schedule: ScaleSchedule, emphasis: float) -> Tensor:
    """Return the weight of every token (B, L), summing to 1 for each sample.

    It is ∝ 1/√(h·w) of its scale, times 1 + emphasis where the edit is: the object's shape
    matters more than the grain of its backdrop.
    """
    inside = 1 - blend_mask[:, None]
    parts = [F.adaptive_avg_pool2d(inside, grid).flatten(1) for grid in schedule.scales]
    weights = token_weights(schedule, blend_mask.device) * (1 + emphasis * torch.cat(parts, 1))
    return weights / weights.sum(1, keepdim=True)


def bit_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the cross entropy (B, L, d) of logits (B, L, d, 2) against target bits (B, L, d)."""
    margin = (logits[..., 1] - logits[..., 0]).float()
    return F.softplus(torch.where(targets, -margin, margin))


def append_rows(states: Tensor, lengths: Tensor) -> TextFeatures:
    """Append 0–20 rows to each text, which stand for the method's learned vectors.

    The learned vectors start at zero and stay tiny, but an RMS norm amplifies them. So some
    samples get zeros and some tiny noise, and the model learns to tolerate both. Numbers are drawn
    from torch's global generator.

    Args:
        states: (B, T, C), real tokens first; T leaves room for the rows.
        lengths: (B,) number of real tokens.
    """
    batch, width, _ = states.shape
    u = torch.rand(4, batch, device=states.device)
    partial = (u[1] * (LEARNED_ROWS + 1)).long()
    rows = torch.where(u[0] < 0.3, 0, torch.where(u[0] < 0.9, LEARNED_ROWS, partial))
    scale = torch.where(u[2] < 0.45, 0.0, 10 ** (-6 + 3.5 * u[3]))
    noise = torch.randn_like(states) * scale[:, None, None]
    position = torch.arange(width, device=states.device)[None]
    is_text = position < lengths[:, None]
    mask = position < (lengths + rows)[:, None]
    features = torch.where(is_text[..., None], states, noise * mask[..., None])
    return TextFeatures(features, mask)


def drop_condition(text: TextFeatures, uncond: Tensor, chance: float) -> TextFeatures:
    """Replace each text by the "no text" rows ``uncond`` (T', C) with probability ``chance``."""
    batch, width, _ = text.features.shape
    dropped = torch.rand(batch, 1, 1, device=uncond.device) < chance
    return TextFeatures(torch.where(dropped, uncond[:width], text.features), text.mask)
