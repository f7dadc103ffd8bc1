"""What the sampler's rows say together: guidance, as an object handed to the sampler.

Each guidance names the texts it wants a prediction of and combines their logits. Source of
``SourceNegative``: training-free editing on the same backbone, with the published constants.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from editinfinity.models.transformer import Infinity, TextFeatures
from editinfinity.scales import ScaleSchedule


class Guidance(Protocol):
    """Turns predictions for several texts into one."""

    def texts(self, model: Infinity, text: TextFeatures) -> TextFeatures:
        """The rows to predict, the conditional ones first; ``text`` is (B, T, Ct5)."""
        ...

    def __call__(self, scale: int, logits: Tensor) -> Tensor:
        """Logits (rows·B, L, d, 2) of a scale → guided ones (B, L, d, 2), before temperature."""
        ...


@dataclass(frozen=True)
class ClassifierFree:
    """Unconditional + cfg·(conditional − unconditional), as the model was made for."""

    cfg: float

    def texts(self, model: Infinity, text: TextFeatures) -> TextFeatures:
        """Rows [conditional…, unconditional…]."""
        without = model.unconditional(text)
        mask = None if text.mask is None else text.mask.repeat(2, 1)
        return TextFeatures(torch.cat([text.features, without.features]), mask)

    def __call__(self, scale: int, logits: Tensor) -> Tensor:
        conditional, unconditional = logits.chunk(2)
        return unconditional + self.cfg * (conditional - unconditional)


class Unguided:
    """What is predicted for the text alone: half the work, for passes that only look."""

    def texts(self, model: Infinity, text: TextFeatures) -> TextFeatures:
        """The conditional rows alone."""
        return text

    def __call__(self, scale: int, logits: Tensor) -> Tensor:
        return logits


FIRST_STRENGTH = 2.39
"""η at the first scale; it falls linearly to 0 at the last."""

MOST_DIVERGENCE = 0.3
"""Largest Bernoulli KL from plain guidance, a bit."""

MOST_SHIFT = 5.0
"""Largest change of a bit's log-odds from plain guidance."""

_HALVINGS = 16


@dataclass(frozen=True)
class SourceNegative:
    """Classifier-free guidance that also leads away from what the source prompt says.

    With d = logit(1) − logit(0) for target (T), no (N) and source (S) text:
    d_cfg = d_T + (cfg − 1)(d_T − d_N), minus η_k(d_S − d_T) inside the mask, pulled back toward
    d_cfg until the Bernoulli divergence and the shift of every bit keep their bounds.

    Attributes:
        cfg: strength of the plain guidance; 4.04 is published.
        source: features of the source prompt, (1, S, Ct5), learned vectors included if any.
        inside: (H, W) of the final grid, 1 where the edit may be; None for everywhere.
        schedule: the scales.
    """

    cfg: float
    source: TextFeatures
    inside: Tensor | None
    schedule: ScaleSchedule

    def texts(self, model: Infinity, text: TextFeatures) -> TextFeatures:
        """Rows [target…, no text…, source…], padded to one length."""
        batch = text.features.shape[0]
        source = self.source.features.to(text.features).expand(batch, -1, -1)
        rows = [text.features, model.unconditional(text).features, source]
        longest = max(row.shape[1] for row in rows)
        padded = [F.pad(row, (0, 0, 0, longest - row.shape[1])) for row in rows]
        positions = torch.arange(longest, device=text.features.device)
        mask = torch.cat([(positions < row.shape[1]).expand(batch, -1) for row in rows])
        return TextFeatures(torch.cat(padded), mask)

    def __call__(self, scale: int, logits: Tensor) -> Tensor:
        target, none, source = (logits[..., 1] - logits[..., 0]).chunk(3)
        plain = target + (self.cfg - 1) * (target - none)
        last = len(self.schedule.scales) - 1
        strength = FIRST_STRENGTH * (1 - scale / last) if last else FIRST_STRENGTH
        shift = -strength * (source - target)
        if self.inside is not None:
            shift = shift * self._inside_at(scale)
        odds = plain + bounded_shift(plain, shift)
        return torch.stack([torch.zeros_like(odds), odds], dim=-1)

    def _inside_at(self, scale: int) -> Tensor:
        """How far each token of a scale lies inside, (L, 1)."""
        assert self.inside is not None
        grid = self.schedule.scales[scale]
        return F.adaptive_avg_pool2d(self.inside[None, None], grid).reshape(-1, 1)


def bounded_shift(plain: Tensor, shift: Tensor) -> Tensor:
    """As much of a shift of log-odds as the bounds allow, bit by bit.

    The divergence grows with the share that is taken, so that share is found by halving.
    """
    shift = shift.clamp(-MOST_SHIFT, MOST_SHIFT)
    low, high = torch.zeros_like(shift), torch.ones_like(shift)
    fits = bernoulli_divergence(plain + shift, plain) <= MOST_DIVERGENCE
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        inside = bernoulli_divergence(plain + middle * shift, plain) <= MOST_DIVERGENCE
        low, high = torch.where(inside, middle, low), torch.where(inside, high, middle)
    return torch.where(fits, shift, low * shift)


def bernoulli_divergence(odds: Tensor, other: Tensor) -> Tensor:
    """KL(p ‖ q) of bits with these log-odds."""
    p = torch.sigmoid(odds)
    return p * (odds - other) - F.softplus(odds) + F.softplus(other)
