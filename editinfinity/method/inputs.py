"""Features of a photograph and of prompts as tensors, on the device of the transformer."""

from __future__ import annotations

import torch
from torch import Tensor

from editinfinity.editing import sampler
from editinfinity.files.features import ImageFeatures, PromptFeatures
from editinfinity.models.transformer import TextFeatures


def text_of(
    prompt: PromptFeatures, device: torch.device, vectors: Tensor | None = None
) -> TextFeatures:
    """A prompt's features, (1, T, Ct5), with learned vectors (N, Ct5) behind them if given."""
    text = TextFeatures(torch.from_numpy(prompt.features)[None].to(device))
    return text if vectors is None else text.append(vectors.to(device))


def codes_of(photograph: ImageFeatures, device: torch.device) -> list[Tensor]:
    """The photograph's code (1, d, H, W) at every scale, enlarged to the final grid."""
    bits = [torch.from_numpy(scale_bits)[None].to(device) for scale_bits in photograph.bits]
    return sampler.source_codes(bits, photograph.schedule)
