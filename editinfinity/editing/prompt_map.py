"""Where two prompts disagree about the bits of a photograph: a soft map of the edit's place.

The model predicts the photograph's own bits, given the edit prompt and given the source prompt. A
bit that is less likely given the edit prompt belongs to what the edit changes. Source: the bit
selection of AREdit (arXiv 2503.23897), without its threshold; docs/finding_the_place.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from editinfinity.editing.attention_map import scales_of_at_least
from editinfinity.editing.guidance import padded_rows
from editinfinity.editing.probabilities import odds_of
from editinfinity.models import bsq
from editinfinity.models.transformer import Infinity, TextFeatures
from editinfinity.scales import ScaleSchedule

BIT_TOKENS = 16
"""Minimum number of tokens of a scale whose bits are compared, 4×4 for a square.

Coarser scales hold the colour and layout of the whole picture, which any edit may change.
"""


class TwoPrompts:
    """A guidance that predicts for the edit and the source prompt in one pass, unguided.

    Row 0 is the edit prompt, row 1 the source prompt.
    """

    def __init__(self, source: TextFeatures) -> None:
        """``source`` are the features of the source prompt, (1, S, Ct5)."""
        self.source = source

    def texts(self, model: Infinity, text: TextFeatures) -> TextFeatures:
        """Return the rows [edit prompt, source prompt], padded to one length."""
        return padded_rows([text, self.source])

    def __call__(self, scale: int, logits: Tensor) -> Tensor:
        return logits[:1]


class BitDisagreement:
    """Averages how much less likely each cell's bits are given the edit prompt, over bits.

    Pass it to the sampler as ``on_logits``, with guidance :class:`TwoPrompts`; afterwards,
    :attr:`mean` is the map.
    """

    def __init__(self, schedule: ScaleSchedule, bits: Sequence[Tensor]) -> None:
        """``bits`` are the photograph's at every scale, each (1, L, d) bool (``token_bits``)."""
        self.schedule, self.bits = schedule, bits
        self.scales = scales_of_at_least(schedule, BIT_TOKENS)
        self.total: Tensor | None = None

    def __call__(self, scale: int, logits: Tensor) -> None:
        """Add the disagreement of one scale; ``logits`` (2, L, d, 2) are the raw predictions."""
        if scale not in self.scales:
            return
        schedule = self.schedule
        odds = odds_of(logits.float())
        target, source = torch.sigmoid(torch.where(self.bits[scale], odds, -odds)).chunk(2)
        less_likely = (source - target).clamp(min=0)
        cells = bsq.unfold(less_likely, schedule.scales[scale], schedule.patchify)
        large = F.interpolate(
            cells.mean(1, keepdim=True),
            size=schedule.reference_grid,
            mode="bilinear",
            align_corners=False,
        )[0, 0]
        self.total = large if self.total is None else self.total + large

    @property
    def mean(self) -> Tensor:
        """Map on the aspect ratio's finest grid at 1M pixels, fp32 in [0, 1]."""
        if self.total is None:
            raise ValueError("no logits were received")
        return self.total / len(self.scales)
