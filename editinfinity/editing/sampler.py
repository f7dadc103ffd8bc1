"""The sampler: generates an image scale by scale; an editor may change the code of each scale.

For each scale, as in the paper: predict the bits, upsample their code, edit it and add it to the
running sum, which is the input of the next scale. The editor alone determines the kind of edit.
Source: EditInfinity (arXiv 2510.20217), docs/method.md, "Stage 4: sampling".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from editinfinity.editing.blend import Editor, keep_generated
from editinfinity.editing.guidance import ClassifierFree, Guidance
from editinfinity.models import bsq
from editinfinity.models.scale_passes import ScalePasses
from editinfinity.models.transformer import Infinity, TextFeatures
from editinfinity.scales import ScaleSchedule
from editinfinity.settings.groups import SamplingSettings

MakePasses = Callable[[Infinity, TextFeatures, ScaleSchedule, Sequence[int]], ScalePasses]
"""Creates the forward passes of an image, given what :class:`ScalePasses` is created from."""


class Watcher(Protocol):
    """Observes cross-attention while sampling; the first row of the batch is conditional."""

    def watch(self, scale: int, q: Tensor, k: Tensor) -> Tensor | None:
        """Receive the queries and keys of the next block, in block order.

        A result other than None, (2B, heads, h·w, T), replaces the model's attention weights.

        Args:
            scale: Index of the scale.
            q: Queries, (2B, heads, h·w, ·).
            k: Keys, (2B, heads, T, ·).
        """
        ...


@dataclass(frozen=True)
class Sample:
    """Result of :func:`sample`.

    Attributes:
        code: Sum of the edited codes, (B, d, H, W); the tokenizer decodes it to the image.
        bits: Bits that the model generated at every scale, before editing; each (B, h·w, d) bool.
    """

    code: Tensor
    bits: list[Tensor]


def draw_noise(
    batch: int, schedule: ScaleSchedule, bits: int, generator: torch.Generator, device: torch.device
) -> list[Tensor]:
    """Draw the noise that decides the bits of every scale: uniform in [0, 1), each (B, h·w, d).

    The noise is always drawn on the CPU, so a seed gives the same noise on every device. It is
    drawn for all scales at once, so the device need not wait for it between scales.
    """
    shapes = [(batch, length, bits) for length in schedule.lengths]
    noise = torch.cat([torch.rand(shape, generator=generator).flatten() for shape in shapes])
    parts = noise.to(device).split([math.prod(shape) for shape in shapes])
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]


def draw_bits(logits: Tensor, settings: SamplingSettings, noise: Tensor) -> Tensor:
    """Draw bits (…) from guided logits (…, 2), before temperature, with noise (…) in [0, 1)."""
    margin = (logits[..., 1] - logits[..., 0]) / settings.tau
    likelier = margin > 0
    if settings.top_k == 1:
        return likelier
    minority = torch.sigmoid(-margin.abs())
    flip = (minority > 1 - settings.top_p) & (noise < minority)
    return likelier ^ flip


@torch.inference_mode()
def sample(
    model: Infinity,
    text: TextFeatures,
    schedule: ScaleSchedule,
    settings: SamplingSettings,
    generator: torch.Generator,
    edit: Editor = keep_generated,
    watcher: Watcher | None = None,
    on_logits: Callable[[int, Tensor], None] | None = None,
    guidance: Guidance | None = None,
    passes: MakePasses = ScalePasses,
) -> Sample:
    """Generate an image for each row of ``text`` (B, T, Ct5), which includes any soft prompt.

    Args:
        model: The transformer.
        text: Text features to condition on.
        schedule: The scales.
        settings: Sampling settings.
        generator: CPU generator, the only source of randomness.
        edit: Changes the upsampled code of a scale, see :mod:`editinfinity.editing.blend`.
        watcher: Observes cross-attention, see :mod:`editinfinity.editing.attention_map`.
        on_logits: Callback for the index and the raw logits (2B, h·w, d, 2) of each scale.
        guidance: Combines the predictions; None for classifier-free guidance.
        passes: Creates the forward passes. A
            :class:`~editinfinity.models.scale_passes.CudaGraphRunner` that is kept between images
            of the same shape is faster on a GPU, but does not support ``watcher``.
    """
    patchify = schedule.patchify
    guide = ClassifierFree(settings.cfg) if guidance is None else guidance
    batch, device = text.features.shape[0], text.features.device
    rows = [batch * guide.texts_at(scale) for scale in range(len(schedule.scales))]
    run = passes(model, guide.texts(model, text), schedule, rows)
    noise = draw_noise(batch, schedule, model.config.token_bits, generator, device)
    grid = schedule.tokenizer_grid
    code = torch.zeros(batch, model.config.bits, *grid, device=device)
    inputs, all_bits = None, []
    for scale, scale_grid in enumerate(schedule.scales):
        if scale:
            inputs = bsq.fold(bsq.resized(code, schedule.tokenizer_scales[scale]), patchify)
        observe = None if watcher is None else partial(watcher.watch, scale)
        logits = run.logits(scale, inputs, observe)
        if on_logits is not None:
            on_logits(scale, logits)
        bits = draw_bits(guide(scale, logits), settings, noise[scale])
        all_bits.append(bits)
        cells = bsq.unfold(bits.float(), scale_grid, patchify) > 0.5
        generated = bsq.resized(bsq.code_of(cells.permute(0, 2, 3, 1)), grid)
        code = code + edit(scale, generated)
    return Sample(code, all_bits)


def codes_of(
    bits: Iterable[NDArray[np.bool_]], schedule: ScaleSchedule, device: torch.device
) -> list[Tensor]:
    """Return the upsampled code (1, d, H, W), on a device, of each scale's bits (h, w, d)."""
    tensors = [torch.from_numpy(scale_bits)[None].to(device) for scale_bits in bits]
    return bsq.upsampled_codes(tensors, schedule.tokenizer_grid)
