"""EditMod: the photograph's own bits, moved by what the two prompts say differently about them.

Source: EditMod (arXiv 2608.09057); docs/method.md, "Methods that compare two prompts".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from editinfinity.editing.guidance import classifier_free, three_texts
from editinfinity.editing.probabilities import logits_of, odds_of
from editinfinity.models.transformer import Infinity, TextFeatures

PRESETS = {"preserve": (3, 8), "target": (2, 7)}
"""Preset → number of first scales that are copied, and of those that are copied or mixed, of 13."""

_SCALES = 13
_SCALES_PER_STEP = 3


def preset_scales(preset: str, scales: int) -> tuple[int, int]:
    """Return a preset's two numbers for a number of scales (7, 10, 12 or 13).

    The first scales hold the layout at every size of picture, so their number stays. Of the others,
    fewer are mixed the fewer there are: one less for every three scales. So the last mixed scale
    has a quarter of the final grid's side at 13 scales, as published, and half of it at 7, as
    measured on the bundled model.

    Returns:
        The number of first scales that are copied, and of those that are copied or mixed.
    """
    copied, mixed = PRESETS[preset]
    return copied, mixed - round((_SCALES - scales) / _SCALES_PER_STEP)


@dataclass(frozen=True)
class EditMod:
    """Moves the probabilities of the photograph's bits by the difference of the two prompts.

    Below scale ``mixed``, bit 1 has the probability Q_photograph + Q_target − Q_source, clipped to
    [0, 1]. Q_photograph is ``confidence`` where the photograph's bit is 1, else 1 − ``confidence``.
    Q_target and Q_source are the probabilities with which a drawing from each prompt alone would
    take bit 1, so they include classifier-free guidance and temperature. From scale ``mixed`` on
    it is plain classifier-free guidance.

    Attributes:
        cfg: Strength of the classifier-free guidance of both prompts.
        tau: Temperature that the sampler divides by.
        source: Features of the source prompt, (1, S, Ct5), including any soft prompt.
        bits: The photograph's bits of every scale, each (1, L, d).
        mixed: Number of the first scales at which bits are mixed (or copied, by the editor).
        confidence: Probability of the photograph's own bit where the prompts agree.
    """

    cfg: float
    tau: float
    source: TextFeatures
    bits: Sequence[Tensor]
    mixed: int
    confidence: float

    def texts(self, model: Infinity, text: TextFeatures) -> TextFeatures:
        """Return B rows each of the target, of no text and of the source."""
        return three_texts(model, text, self.source)

    def texts_at(self, scale: int) -> int:
        """Return 3 where bits are mixed, else 2: the source is not used."""
        return 3 if scale < self.mixed else 2

    def __call__(self, scale: int, logits: Tensor) -> Tensor:
        target, none, *source = odds_of(logits).chunk(self.texts_at(scale))
        plain = classifier_free(target, none, self.cfg)
        if not source:
            return logits_of(plain)
        other = classifier_free(source[0], none, self.cfg)
        own = torch.where(self.bits[scale], self.confidence, 1 - self.confidence)
        moved = own + torch.sigmoid(plain / self.tau) - torch.sigmoid(other / self.tau)
        # The sampler divides by tau again. A probability of 0 or 1 gives infinite odds: certain.
        return logits_of(self.tau * torch.logit(moved.clamp(0, 1)))
