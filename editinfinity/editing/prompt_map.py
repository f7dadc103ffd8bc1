"""Where two prompts disagree about the bits of a photograph: a soft map of the edit's place.

The model predicts the photograph's own bits, given the edit prompt and given the source prompt. A
bit that is less likely given the edit prompt belongs to what the edit changes. Source: the bit
selection of AREdit (arXiv 2503.23897), without its threshold; docs/finding_the_place.md.
"""

from __future__ import annotations

import torch
from torch import Tensor

from editinfinity.editing.attention_map import mean_over_scales, scales_of_at_least
from editinfinity.editing.probabilities import odds_of
from editinfinity.scales import ScaleSchedule

BIT_TOKENS = 16
"""Minimum number of tokens of a scale whose bits are compared, 4×4 for a square.

Coarser scales hold the colour and layout of the whole picture, which any edit may change.
"""


def bit_disagreement(logits: Tensor, bits: Tensor, schedule: ScaleSchedule) -> Tensor:
    """Return how much less likely each cell's bits are given the edit prompt, averaged over bits.

    Args:
        logits: Predictions for the source and the edit prompt, (2, L, d, 2).
        bits: The photograph's bits, (1, L, d) bool.
        schedule: The scales; L is ``schedule.tokens``.

    Returns:
        Map on the aspect ratio's finest grid at 1M pixels, (h, w) fp32 in [0, 1].
    """
    scales = scales_of_at_least(schedule, BIT_TOKENS)
    first = sum(schedule.lengths[: scales.start])
    odds = odds_of(logits[:, first:].float())
    source, target = torch.sigmoid(torch.where(bits[:, first:], odds, -odds)).chunk(2)
    less_likely = (source - target).clamp(min=0)
    return mean_over_scales(less_likely, schedule, scales, patchify=schedule.patchify)[0]
