"""What the transformer is shown and asked during training: inputs, targets and their loss.

Source: Infinity (arXiv 2412.04431, bitwise self-correction) and docs/method.md, "What
training shows the model". Suffixes: B batch, L tokens, d bits a token.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from editinfinity.models import bsq
from editinfinity.scales import ScaleSchedule


@dataclass(frozen=True)
class TrainingBatch:
    """One teacher-forced pass.

    Attributes:
        inputs: (B, L − 1, d) fp32, what every scale but the first is shown.
        targets: (B, L, d) bool, the bits to predict.
    """

    inputs: Tensor
    targets: Tensor


class SelfCorrectionNoise:
    """Flips bits of every scale, each sample and scale with a probability of its own.

    The probability is uniform over {0, 0.01, …, ``strength``}. Draws come from torch's global
    generator, which the training loop seeds each iteration.
    """

    def __init__(self, strength: float) -> None:
        self.steps = round(strength * 100)

    def __call__(self, bits: Tensor) -> Tensor:
        """True bits (B, h, w, d) bool → the bits later scales build on."""
        batch = bits.shape[0]
        probability = torch.randint(self.steps + 1, (batch, 1, 1, 1), device=bits.device) / 100
        return bits ^ (torch.rand(bits.shape, device=bits.device) < probability)


def make_training_batch(
    features: Tensor, schedule: ScaleSchedule, corrupt: bsq.Corruption | None = None
) -> TrainingBatch:
    """Inputs and targets of raw features (B, d, H, W), with noise from ``corrupt`` if given.

    The flipped codes build the inputs of later scales; the targets are the true bits of the
    residual left by them.
    """
    quantized = bsq.quantize(features, schedule.tokenizer_scales, corrupt)
    return training_batch_of(quantized, schedule)


def training_batch_of(quantized: bsq.Quantized, schedule: ScaleSchedule) -> TrainingBatch:
    """Fold running sums and bits of a quantised feature map into token sequences."""
    patchify = schedule.patchify
    inputs = [
        bsq.fold(bsq.resized(running, grid), patchify)
        for running, grid in zip(quantized.running[1:], schedule.tokenizer_scales[1:], strict=True)
    ]
    targets = [
        bsq.fold(bits.permute(0, 3, 1, 2).float(), patchify) > 0.5 for bits in quantized.bits
    ]
    return TrainingBatch(torch.cat(inputs, dim=1), torch.cat(targets, dim=1))


@lru_cache(maxsize=32)
def token_weights(schedule: ScaleSchedule, device: torch.device | None = None) -> Tensor:
    """Weight of every token, (L,), ∝ 1/√(h·w) of its scale, summing to 1."""
    # Cached weights made while sampling must still serve training in the same process.
    with torch.inference_mode(False):
        weights = torch.cat([torch.full((n,), n**-0.5) for n in schedule.lengths])
        return (weights / weights.sum()).to(device)


@dataclass(frozen=True)
class BitLoss:
    """Losses of a pass.

    Attributes:
        cross_entropy: scalar, mean over bits, tokens weighted by :func:`token_weights`.
        divergence: scalar, KL(one-hot ‖ prediction) summed over all tokens and bits, over B.
    """

    cross_entropy: Tensor
    divergence: Tensor


def bit_loss(logits: Tensor, targets: Tensor, schedule: ScaleSchedule) -> BitLoss:
    """Losses of logits (B, L, d, 2) against bits (B, L, d)."""
    # Two-way cross entropy is softplus of the wrong bit's margin.
    margin = (logits[..., 1] - logits[..., 0]).float()
    entropy = F.softplus(torch.where(targets, -margin, margin))
    weighted = (entropy.mean(-1) * token_weights(schedule, logits.device)).sum(1).mean()
    return BitLoss(weighted, entropy.sum() / len(entropy))
