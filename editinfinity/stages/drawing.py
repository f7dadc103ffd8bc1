"""Feature files and settings as the sampler takes them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from editinfinity.editing import sampler
from editinfinity.editing.blend import Editor, KernelBlend, LockFirst, keep_generated
from editinfinity.editing.guidance import ClassifierFree, Guidance, SourceNegative
from editinfinity.editing.kernel import resample_kernel
from editinfinity.files.features import ImageFeatures
from editinfinity.models.transformer import TextFeatures
from editinfinity.stages.settings import SamplingSettings


def source_codes(source: ImageFeatures, device: torch.device) -> list[Tensor]:
    """The enlarged code (1, d, H, W) of every scale of the photograph."""
    bits = [torch.from_numpy(scale_bits)[None].to(device) for scale_bits in source.bits]
    return sampler.source_codes(bits, source.schedule)


def sampler_settings(sampling: SamplingSettings) -> sampler.SamplingSettings:
    """The sampler's own settings, without the seed."""
    return sampler.SamplingSettings(sampling.cfg, sampling.tau, sampling.top_k, sampling.top_p)


def steering(
    source: ImageFeatures,
    kernel: NDArray[np.float32] | None,
    away: TextFeatures | None,
    cfg: float,
    lock_scales: int,
    device: torch.device,
) -> tuple[Editor, Guidance]:
    """How a drawing is blended with the photograph at every scale, and where it is led.

    Args:
        source: the photograph.
        kernel: G on the ratio's 1M last scale; None to let everything change.
        away: the source prompt, to lead away from what it says; None for plain guidance.
        cfg: strength of the guidance.
        lock_scales: first scales that stay the photograph's.
        device: where the model runs.
    """
    blend: Editor = keep_generated
    codes, inside = source_codes(source, device), None
    if kernel is not None:
        weights = resample_kernel(kernel, source.schedule.tokenizer_grid)
        kept = torch.from_numpy(weights).to(device)
        blend, inside = KernelBlend(codes, kept), 1 - kept
    if lock_scales:
        blend = LockFirst(codes, lock_scales, blend)
    if away is None:
        return blend, ClassifierFree(cfg)
    return blend, SourceNegative(cfg, away, inside, source.schedule)
