"""Soft maps of the place of an edit, found from the source and the edit prompt alone."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from editinfinity.compute import report_memory_faults
from editinfinity.editing import sampler
from editinfinity.editing.attention_map import (
    FINE_TOKENS,
    AttentionCollector,
    AttentionCollectors,
    scales_of_at_least,
)
from editinfinity.editing.blend import ReplaySource
from editinfinity.editing.blend_mask import blur
from editinfinity.editing.probabilities import token_bits
from editinfinity.editing.prompt_map import BitDisagreement, TwoPrompts
from editinfinity.errors import UserError
from editinfinity.files.features import ImageFeatures, PromptFeatures
from editinfinity.files.maps import PromptMaps, normalised
from editinfinity.method.prompt_changes import changed_words, require_comparable
from editinfinity.models.transformer import Infinity, TextFeatures
from editinfinity.prompts import Span, tokens_of
from editinfinity.settings.groups import SamplingSettings

BITS_SIGMA = 1.0
"""Standard deviation of the blur of the map of bits, in cells of ``schedule.reference_grid``."""

_TARGET, _SOURCE = 0, 1  # rows of TwoPrompts


@report_memory_faults("choose a smaller pixel_budget")
def prompt_maps(
    transformer: Infinity,
    photograph: ImageFeatures,
    source: PromptFeatures,
    target: PromptFeatures,
) -> PromptMaps:
    """Compare what the model makes of a photograph's own codes given two prompts, in one pass.

    Args:
        transformer: the transformer, without an adapter.
        photograph: the photograph; its codes replace the generated codes at every scale.
        source: the source prompt, without soft prompt and suffix.
        target: the edit prompt, likewise.

    Returns:
        The map of the words that changed and the map of the bits that the prompts disagree on.

    Raises:
        UserError: the source prompt is empty, or both prompts are equal.
        GpuMemoryError: the GPU ran out of memory.
    """
    require_comparable(source.prompt, target.prompt)
    device, schedule = transformer.device, photograph.schedule
    change = changed_words(source.prompt, target.prompt)
    fine = scales_of_at_least(schedule, FINE_TOKENS)
    words = [
        AttentionCollector(schedule, tokens, fine, row, len(prompt.features))
        for row, prompt, spans in ((_SOURCE, source, change.gone), (_TARGET, target, change.new))
        for tokens in _tokens(prompt, spans)
    ]
    bits = BitDisagreement(schedule, token_bits(photograph.bits, schedule, device))
    sampler.sample(
        transformer,
        TextFeatures.of(target.features, device),
        schedule,
        SamplingSettings(),
        torch.Generator(),
        edit=ReplaySource(sampler.codes_of(photograph.bits, schedule, device)),
        watcher=AttentionCollectors(words) if words else None,
        on_logits=bits,
        guidance=TwoPrompts(TextFeatures.of(source.features, device)),
    )
    maps = [normalised(word.mean.cpu().numpy()) for word in words]
    return PromptMaps(
        bits=blur(bits.mean.cpu().double().numpy(), BITS_SIGMA).astype(np.float32),
        words=np.mean(maps, axis=0, dtype=np.float32) if maps else None,
        gone=_texts(source.prompt, change.gone),
        new=_texts(target.prompt, change.new),
        is_addition=change.is_addition,
    )


def _tokens(prompt: PromptFeatures, spans: Iterable[Span]) -> list[Span]:
    """Return the tokens of words; words that the text encoder has no token for are left out."""
    tokens = []
    for span in spans:
        try:
            tokens.append(tokens_of(span, prompt.offsets))
        except UserError:
            continue
    return tokens


def _texts(prompt: str, spans: Iterable[Span]) -> tuple[str, ...]:
    return tuple(prompt[start:end] for start, end in spans)
