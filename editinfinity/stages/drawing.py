"""Feature files as the sampler takes them."""

from __future__ import annotations

import torch
from torch import Tensor

from editinfinity.editing import sampler
from editinfinity.files.features import ImageFeatures
from editinfinity.stages.settings import SamplingSettings


def source_codes(source: ImageFeatures, device: torch.device) -> list[Tensor]:
    """The enlarged code (1, d, H, W) of every scale of the photograph."""
    bits = [torch.from_numpy(scale_bits)[None].to(device) for scale_bits in source.bits]
    return sampler.source_codes(bits, source.schedule)


def sampler_settings(sampling: SamplingSettings) -> sampler.SamplingSettings:
    """The sampler's own settings, without the seed."""
    return sampler.SamplingSettings(sampling.cfg, sampling.tau, sampling.top_k, sampling.top_p)
