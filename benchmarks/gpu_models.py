"""Models of any preset with random weights, created on the device, and a source to invert."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from editinfinity.compute import block_dtype
from editinfinity.files.loading import build_on_meta
from editinfinity.inversion.training import Source
from editinfinity.models.dispatch import choose_operations
from editinfinity.models.tokenizer import Tokenizer
from editinfinity.models.transformer import Infinity, TextFeatures
from editinfinity.presets import Preset
from editinfinity.scales import ScaleSchedule, schedule

TEXT_TOKENS = 24
"""Tokens of a source prompt with its suffix; twenty learned vectors follow."""


def _fill(module: nn.Module, device: torch.device) -> None:
    """Fill a module with random weights of the magnitude of an initialisation; norms are 1."""
    module.to_empty(device=device)
    generator = torch.Generator(device).manual_seed(0)
    for name, parameter in module.named_parameters():
        with torch.no_grad():
            if parameter.ndim == 1 or "scale_mul" in name:
                parameter.fill_(1.0 if "norm" in name and "weight" in name else 0.0)
            else:
                fan = parameter[0].numel()
                parameter.normal_(0, min(0.02, fan**-0.5), generator=generator)
    module.eval().requires_grad_(False)


def random_transformer(preset: Preset, device: torch.device) -> Infinity:
    """Return a transformer like that of ``load_transformer``, with random weights."""
    dtype = block_dtype(device)
    model = build_on_meta(lambda: Infinity(preset.transformer).set_block_dtype(dtype))
    _fill(model, device)
    operations = choose_operations(device, preset.transformer, dtype)
    return model.use_operations(operations.result())


def random_tokenizer(preset: Preset, device: torch.device) -> Tokenizer:
    """Return a tokenizer like that of ``load_tokenizer``, with random weights."""
    model = build_on_meta(lambda: Tokenizer(preset.tokenizer))
    _fill(model, device)
    return model.use_operations(choose_operations(device).result())


def schedule_of(preset: Preset, budget: str, ratio: float = 1.0) -> ScaleSchedule:
    """Return the scale schedule of a preset at a pixel budget."""
    return schedule(ratio, budget, preset.transformer.patchify)


def random_source(preset: Preset, scales: ScaleSchedule, device: torch.device) -> Source:
    """Return a source with random features and a random prompt."""
    generator = torch.Generator(device).manual_seed(1)

    def noise(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device=device)

    features = noise(1, preset.tokenizer.bits, *scales.tokenizer_grid)
    return Source(features, TextFeatures(noise(1, TEXT_TOKENS, preset.text_encoder.width)), scales)


def with_learned(source: Source, vectors: Tensor) -> Source:
    """Return the source with a soft prompt after its prompt."""
    return replace(source, soft_prompt=vectors)


def endless() -> Iterator[int]:
    """Yield the iteration numbers 1, 2, … without end."""
    number = 0
    while True:
        number += 1
        yield number
