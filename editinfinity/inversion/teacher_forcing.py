"""Teacher forcing: the transformer's inputs, targets and loss during training.

Source: Infinity (arXiv 2412.04431, bitwise self-correction) and docs/method.md, "What
training shows the model". Dimensions: B batch, L tokens, d bits per token.
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
    """Inputs and targets of one teacher-forced pass.

    Attributes:
        inputs: (B, L − 1, d) fp32, the inputs of all scales but the first.
        targets: (B, L, d) bool, the bits to predict.
    """

    inputs: Tensor
    targets: Tensor


class SelfCorrectionNoise:
    """Flips bits at random, with a probability drawn separately for each sample and scale.

    The probability is uniform over {0, 0.01, …, ``strength``}. Random numbers come from torch's
    global generator, which the training loop seeds in each iteration.
    """

    def __init__(self, strength: float) -> None:
        self.steps = round(strength * 100)

    def __call__(self, bits: Tensor) -> Tensor:
        """Map the true bits (B, h, w, d) bool to the noisy bits that later scales build on."""
        batch = bits.shape[0]
        probability = torch.randint(self.steps + 1, (batch, 1, 1, 1), device=bits.device) / 100
        return bits ^ (torch.rand(bits.shape, device=bits.device) < probability)


def make_training_batch(
    features: Tensor, schedule: ScaleSchedule, corrupt: bsq.Corruption | None = None
) -> TrainingBatch:
    """Return inputs and targets for raw features (B, d, H, W), with noise of ``corrupt`` if given.

    The inputs of later scales are built from the noisy codes. The targets are the true bits of the
    residual that the noisy codes leave.
    """
    quantized = bsq.quantize(features, schedule.tokenizer_scales, corrupt)
    return training_batch_of(quantized, schedule)


def training_batch_of(quantized: bsq.Quantized, schedule: ScaleSchedule) -> TrainingBatch:
    """Convert the running sums and bits of a quantised feature map into token sequences."""
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
    """Return the loss weight of every token, (L,), ∝ 1/√(h·w) of its scale, summing to 1."""
    # Weights that are cached while sampling must not be inference tensors: training uses them too.
    with torch.inference_mode(False):
        weights = torch.cat([torch.full((n,), n**-0.5) for n in schedule.lengths])
        return (weights / weights.sum()).to(device)


@dataclass(frozen=True)
class BitLoss:
    """Losses of one teacher-forced pass.

    Attributes:
        cross_entropy: scalar, mean over bits, with tokens weighted by :func:`token_weights`.
        divergence: scalar, KL(one-hot ‖ prediction) summed over all tokens and bits, divided
            by B.
    """

    cross_entropy: Tensor
    divergence: Tensor


def bit_loss(logits: Tensor, targets: Tensor, schedule: ScaleSchedule) -> BitLoss:
    """Return the losses of logits (B, L, d, 2) against target bits (B, L, d)."""
    # Binary cross entropy equals softplus of (logit of the wrong bit − logit of the true bit).
    margin = (logits[..., 1] - logits[..., 0]).float()
    entropy = F.softplus(torch.where(targets, -margin, margin))
    weighted = (entropy.mean(-1) * token_weights(schedule, logits.device)).sum(1).mean()
    return BitLoss(weighted, entropy.sum() / len(entropy))
