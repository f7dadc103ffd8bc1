"""The sampler: draws an image scale by scale, letting an editor change what is kept.

Reads like the algorithm of the paper: predict the bits of a scale, enlarge their code, edit it,
add it to the running sum, show the sum to the next scale. Source: EditInfinity (arXiv 2510.20217),
docs/method.md, "Stage 4: sampling". It knows nothing of the kind of edit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
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


class Watcher(Protocol):
    """Sees cross-attention while sampling; the first row of the batch is conditional."""

    def watch(self, scale: int, q: Tensor, k: Tensor) -> None:
        """``q`` (2B, heads, h·w, ·) and ``k`` (2B, heads, T, ·) of the next block."""
        ...


@dataclass(frozen=True)
class Sample:
    """What was drawn.

    Attributes:
        code: (B, d, H, W), the edited running sum: decode it for the picture.
        bits: the model's own bits of every scale before editing, (B, h·w, d) bool each.
    """

    code: Tensor
    bits: list[Tensor]


def draw_noise(
    batch: int, schedule: ScaleSchedule, bits: int, generator: torch.Generator, device: torch.device
) -> list[Tensor]:
    """What decides the bits of every scale, uniform in [0, 1), (B, h·w, d) each.

    The CPU draws, whatever the device, so that a seed means the same noise everywhere; all at
    once, so that the device need not wait for it between scales.
    """
    shapes = [(batch, length, bits) for length in schedule.lengths]
    noise = torch.cat([torch.rand(shape, generator=generator).flatten() for shape in shapes])
    parts = noise.to(device).split([math.prod(shape) for shape in shapes])
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]


def draw_bits(logits: Tensor, settings: SamplingSettings, noise: Tensor) -> Tensor:
    """Bits (…) drawn from guided logits (…, 2) before temperature, by noise (…) in [0, 1)."""
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
    passes: Callable[[Infinity, TextFeatures, ScaleSchedule], ScalePasses] = ScalePasses,
) -> Sample:
    """Draw an image for each row of ``text`` (B, T, Ct5), learned vectors included.

    Args:
        generator: a CPU generator; it alone decides the draws.
        edit: changes the enlarged code of a scale, see :mod:`editinfinity.editing.blend`.
        watcher: sees cross-attention, see :mod:`editinfinity.editing.attention_map`.
        on_logits: sees the scale and its raw logits (2B, h·w, d, 2).
        guidance: combines what is predicted; None for classifier-free guidance.
        passes: runs the model; a :class:`~editinfinity.models.scale_passes.CudaGraphRunner` kept
            between pictures of one shape is faster on a card, and cannot be watched.
    """
    patchify = schedule.patchify
    guide = ClassifierFree(settings.cfg) if guidance is None else guidance
    batch, device = text.features.shape[0], text.features.device
    run = passes(model, guide.texts(model, text), schedule)
    noise = draw_noise(batch, schedule, model.config.token_bits, generator, device)
    grid = schedule.tokenizer_grid
    code = torch.zeros(batch, model.config.bits, *grid, device=device)
    seen, all_bits = None, []
    for scale, scale_grid in enumerate(schedule.scales):
        if scale:
            seen = bsq.fold(bsq.resized(code, schedule.tokenizer_scales[scale]), patchify)
        observe = None if watcher is None else partial(watcher.watch, scale)
        logits = run.logits(scale, seen, observe)
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
    """The enlarged code (1, d, H, W) of every scale of a source's bits (h, w, d), on a device."""
    there = [torch.from_numpy(each)[None].to(device) for each in bits]
    return bsq.enlarged(there, schedule.tokenizer_grid)
