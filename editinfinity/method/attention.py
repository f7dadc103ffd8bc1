"""Cross-attention map of a word of the source prompt, computed on the photograph's own codes."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from editinfinity.compute import report_memory_faults
from editinfinity.editing import sampler
from editinfinity.editing.attention_map import FINE_TOKENS, AttentionCollector, scales_of_at_least
from editinfinity.editing.blend import ReplaySource
from editinfinity.editing.guidance import Unguided
from editinfinity.files.features import ImageFeatures, PromptFeatures
from editinfinity.models.transformer import Infinity, TextFeatures
from editinfinity.prompts import Span
from editinfinity.settings.groups import MaskSettings, SamplingSettings


@report_memory_faults("choose a smaller pixel_budget")
def attention_map(
    transformer: Infinity,
    photograph: ImageFeatures,
    prompt: PromptFeatures,
    tokens: Span,
    scales: str = MaskSettings.attention_scales,
) -> NDArray[np.float32]:
    """Average the attention to some tokens over heads, blocks and scales (``infer_function`` 1).

    Args:
        transformer: the transformer, without an adapter.
        photograph: the photograph; its codes replace the generated codes at every scale.
        prompt: the source prompt, which is used without the soft prompt.
        tokens: token range of the word: first, and one past the last.
        scales: ``all`` as in the paper, or ``fine`` for those that show places.

    Returns:
        Attention map, (h, w) fp32 on ``schedule.reference_grid``.

    Raises:
        GpuMemoryError: the GPU ran out of memory.
    """
    device, schedule = transformer.device, photograph.schedule
    chosen = scales_of_at_least(schedule, FINE_TOKENS) if scales == "fine" else None
    collector = AttentionCollector(schedule, tokens, chosen)
    sampler.sample(
        transformer,
        TextFeatures.of(prompt.features, device),
        schedule,
        SamplingSettings(),
        torch.Generator(),
        edit=ReplaySource(sampler.codes_of(photograph.bits, schedule, device)),
        watcher=collector,
        guidance=Unguided(),
    )
    return collector.mean.cpu().numpy()
