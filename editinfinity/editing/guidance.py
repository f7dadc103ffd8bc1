"""Guidance methods of the sampler.

A guidance object selects the texts for which the model predicts logits, and combines these logits.
``SourceNegative`` is this project's own version of BitResEdit; ``editing/bitresedit.py``, beside it
``editing/editmod.py`` and ``editing/aredit.py``, are the methods as published.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from editinfinity.models.transformer import Infinity, TextFeatures
from editinfinity.scales import ScaleSchedule


class Guidance(Protocol):
    """Combines the predictions for several texts into one."""

    def texts(self, model: Infinity, text: TextFeatures) -> TextFeatures:
        """Return the texts to predict for, conditional rows first; ``text`` is (B, T, Ct5)."""
        ...

    def texts_at(self, scale: int) -> int:
        """Return how many of the texts, from the first, are used at a scale; it never rises."""
        ...

    def __call__(self, scale: int, logits: Tensor) -> Tensor:
        """Combine logits of a scale to (B, L, d, 2), before temperature.

        Args:
            scale: Index of the scale.
            logits: Predictions for the texts that are used at this scale, (texts·B, L, d, 2).
        """
        ...


def three_texts(model: Infinity, text: TextFeatures, source: TextFeatures) -> TextFeatures:
    """Return B rows each of the target, of no text and of the source, padded to one length.

    Args:
        model: The transformer.
        text: Features of the target, (B, T, Ct5).
        source: Features of the source, (B or 1, S, Ct5).
    """
    return padded_rows([text, model.unconditional(text), source])


def padded_rows(texts: Sequence[TextFeatures]) -> TextFeatures:
    """Return texts as rows, padded to one length.

    Args:
        texts: Features of each text: (B, ·, Ct5) of the first, (B or 1, ·, Ct5) of the others.

    Returns:
        B rows of each text, one text after another. The mask is True where a row is not padded.
    """
    first = texts[0].features
    batch, longest = len(first), max(part.features.shape[1] for part in texts)
    rows, masks = [], []
    for part in texts:
        padded = part.pad(longest)
        assert padded.mask is not None
        rows.append(padded.features.to(first).expand(batch, -1, -1))
        masks.append(padded.mask.expand(batch, -1))
    return TextFeatures(torch.cat(rows), torch.cat(masks))


def classifier_free(target: Tensor, none: Tensor, cfg: float) -> Tensor:
    """Return the guided log-odds of log-odds for a text and for no text."""
    return target + (cfg - 1) * (target - none)


@dataclass(frozen=True)
class ClassifierFree:
    """Classifier-free guidance: unconditional + cfg·(conditional − unconditional).

    The model is designed for this guidance.
    """

    cfg: float

    def texts(self, model: Infinity, text: TextFeatures) -> TextFeatures:
        """Return the rows [conditional…, unconditional…]."""
        unconditional = model.unconditional(text)
        mask = None if text.mask is None else text.mask.repeat(2, 1)
        return TextFeatures(torch.cat([text.features, unconditional.features]), mask)

    def texts_at(self, scale: int) -> int:
        return 2

    def __call__(self, scale: int, logits: Tensor) -> Tensor:
        conditional, unconditional = logits.chunk(2)
        return unconditional + self.cfg * (conditional - unconditional)


class Unguided:
    """No guidance: the prediction for the text alone.

    It halves the work; use it for passes that only collect attention.
    """

    def texts(self, model: Infinity, text: TextFeatures) -> TextFeatures:
        """Return the conditional rows only."""
        return text

    def texts_at(self, scale: int) -> int:
        return 1

    def __call__(self, scale: int, logits: Tensor) -> Tensor:
        return logits


FIRST_STRENGTH = 2.39
"""Strength η at the first scale; it falls linearly to 0 at the last scale."""

MAX_DIVERGENCE = 0.3
"""Maximum Bernoulli KL divergence of each bit from classifier-free guidance."""

MAX_SHIFT = 5.0
"""Maximum change of the log-odds of each bit from classifier-free guidance."""

HALVINGS = 16
"""Number of halvings that find how far a bit may move."""


@dataclass(frozen=True)
class SourceNegative:
    """Classifier-free guidance that also moves away from the source prompt.

    Let d = logit(1) − logit(0) for the target (T), no (N) and source (S) text. Classifier-free
    guidance gives d_cfg = d_T + (cfg − 1)(d_T − d_N). Inside ``edit_mask``, η_k(d_S − d_T) is
    subtracted. This shift is reduced until the Bernoulli divergence from d_cfg and the shift of
    every bit are at most ``MAX_DIVERGENCE`` and ``MAX_SHIFT``.

    Attributes:
        cfg: Strength of the classifier-free guidance; the published value is 4.04.
        source: Features of the source prompt, (1, S, Ct5), including any soft prompt.
        edit_mask: Mask on the final grid, (H, W), 1 where editing is allowed; None for everywhere.
        schedule: The scales.
    """

    cfg: float
    source: TextFeatures
    edit_mask: Tensor | None
    schedule: ScaleSchedule

    def texts(self, model: Infinity, text: TextFeatures) -> TextFeatures:
        """Return B rows each of the target, of no text and of the source."""
        return three_texts(model, text, self.source)

    def texts_at(self, scale: int) -> int:
        """Return 3; at the last scale, where the strength is 0, the source is not used."""
        last = len(self.schedule.scales) - 1
        return 2 if scale == last > 0 else 3

    def __call__(self, scale: int, logits: Tensor) -> Tensor:
        target, none, *source = (logits[..., 1] - logits[..., 0]).chunk(self.texts_at(scale))
        baseline = classifier_free(target, none, self.cfg)
        if not source:
            return torch.stack([torch.zeros_like(baseline), baseline], dim=-1)
        last = len(self.schedule.scales) - 1
        strength = FIRST_STRENGTH * (1 - scale / last) if last else FIRST_STRENGTH
        shift = -strength * (source[0] - target)
        if self.edit_mask is not None:
            shift = shift * self._edit_mask_at(scale)
        odds = baseline + bounded_shift(baseline, shift)
        return torch.stack([torch.zeros_like(odds), odds], dim=-1)

    def _edit_mask_at(self, scale: int) -> Tensor:
        """Return the fraction of each token of a scale that is inside the mask, (L, 1)."""
        assert self.edit_mask is not None
        grid = self.schedule.scales[scale]
        return F.adaptive_avg_pool2d(self.edit_mask[None, None], grid).reshape(-1, 1)


def bounded_shift(baseline: Tensor, shift: Tensor) -> Tensor:
    """Return the largest part of a log-odds shift that satisfies the bounds, for each bit."""
    shift = shift.clamp(-MAX_SHIFT, MAX_SHIFT)
    return share_within_divergence(baseline, shift, HALVINGS) * shift


def share_within_divergence(baseline: Tensor, shift: Tensor, halvings: int) -> Tensor:
    """Return the share of a log-odds shift whose divergence is at most ``MAX_DIVERGENCE``.

    The divergence grows with the share, so bisection finds the largest one. It is 1 for a bit whose
    whole shift is within the bound.
    """

    def fits(share: Tensor) -> Tensor:
        return bernoulli_divergence(baseline + share * shift, baseline) <= MAX_DIVERGENCE

    low, high = torch.zeros_like(shift), torch.ones_like(shift)
    for _ in range(halvings):
        middle = (low + high) / 2
        within = fits(middle)
        low, high = torch.where(within, middle, low), torch.where(within, high, middle)
    whole = torch.ones_like(shift)
    return torch.where(fits(whole), whole, low)


def bernoulli_divergence(odds: Tensor, other: Tensor) -> Tensor:
    """Return KL(p ‖ q) of bits p with log-odds ``odds`` and q with log-odds ``other``."""
    p = torch.sigmoid(odds)
    return p * (odds - other) - F.softplus(odds) + F.softplus(other)
