"""Soft maps of the place of an edit, found from the source and the edit prompt alone."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from editinfinity.compute import report_memory_faults
from editinfinity.editing.attention_map import WordAttention
from editinfinity.editing.blend_mask import blur
from editinfinity.editing.guidance import padded_rows
from editinfinity.editing.prompt_map import bit_disagreement
from editinfinity.errors import UserError
from editinfinity.files.features import ImageFeatures, PromptFeatures
from editinfinity.files.maps import PromptMaps, normalised
from editinfinity.inversion.teacher_forcing import make_training_batch
from editinfinity.method.prompt_changes import changed_words, require_comparable
from editinfinity.models.attention import sampling_backend
from editinfinity.models.transformer import Infinity, TextFeatures
from editinfinity.prompts import Span, tokens_of

BITS_SIGMA = 1.0
"""Standard deviation of the blur of the map of bits, in cells of ``schedule.reference_grid``."""


@report_memory_faults("choose a smaller pixel_budget")
@torch.inference_mode()
def prompt_maps(
    transformer: Infinity,
    photograph: ImageFeatures,
    source: PromptFeatures,
    target: PromptFeatures,
) -> PromptMaps:
    """Compare what the model makes of a photograph's own codes given two prompts, in one pass.

    All scales are predicted at once, as in training: the codes are known, so no scale has to wait
    for the coarser ones, and no keys and values are stored.

    Args:
        transformer: the transformer, without an adapter.
        photograph: the photograph; its codes are the inputs of all scales.
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
    prompts = (source, target)  # the rows of the batch
    texts = padded_rows([TextFeatures.of(prompt.features, device) for prompt in prompts])
    words = [_tokens(source, change.gone), _tokens(target, change.new)]
    attention = WordAttention(schedule, texts.mask)
    photo = make_training_batch(torch.from_numpy(photograph.raw)[None].to(device), schedule)
    with sampling_backend(0):
        logits = transformer(
            photo.inputs.expand(len(prompts), -1, -1), texts, schedule,
            attention if any(words) else None,
        )  # fmt: skip
    maps = [
        normalised(word)
        for row, spans in enumerate(words)
        if spans
        for word in attention.maps(row, spans).cpu().numpy()
    ]
    bits = bit_disagreement(logits, photo.targets, schedule).cpu().double().numpy()
    return PromptMaps(
        bits=blur(bits, BITS_SIGMA).astype(np.float32),
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
