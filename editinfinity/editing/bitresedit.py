"""BitResEdit, as published: guidance away from the source prompt, within a trust region.

:class:`~editinfinity.editing.guidance.SourceNegative` is this project's earlier version of it.
Source: BitResEdit (arXiv 2606.13558); docs/method.md, "Methods that compare two prompts".
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from editinfinity.editing.guidance import (
    MAX_SHIFT,
    classifier_free,
    share_within_divergence,
    three_texts,
)
from editinfinity.editing.probabilities import logits_of, mask_at, odds_of
from editinfinity.models.transformer import Infinity, TextFeatures
from editinfinity.scales import ScaleSchedule

FIRST_STRENGTH = 2.3898
"""Strength η at the first scale; it falls linearly to 0 at the last scale."""

HALVINGS = 4
"""Number of halvings that find how far a bit may move."""

LOCKED_SCALES = 3
"""Number of first scales that keep the photograph's code if the edit is large."""

LARGE = 0.5
"""Share of the picture from which an edit is large."""


def is_large(gate: Tensor) -> bool:
    """Return whether an edit covers at least half of the picture, so that its layout is locked.

    Args:
        gate: Weight of the drawing on the final grid, (H, W). A cell counts where it is above one
            half, which is where a blurred mask has its edge.
    """
    return bool((gate > 0.5).float().mean() >= LARGE)


@dataclass(frozen=True)
class BitResEdit:
    """Classifier-free guidance that also moves away from the source prompt, inside the mask.

    Let d be the log-odds for the target (T), no (N) and source (S) text. Classifier-free guidance
    gives d_cfg = d_T + (cfg − 1)(d_T − d_N), and d_raw = d_cfg − η_k(d_S − d_T). A bit moves from
    d_cfg towards d_raw as far as four halvings find its divergence from d_cfg to be at most
    ``MAX_DIVERGENCE`` (``editinfinity.editing.guidance``); then the move is clipped to
    ±``MAX_SHIFT``.

    Attributes:
        cfg: Strength of the classifier-free guidance; published is 4.0392.
        source: Features of the source prompt, (1, S, Ct5), including any soft prompt.
        gate: Weight of the drawing on the final grid, (H, W); a token is inside where it is above
            0. None for everywhere.
        schedule: The scales.
    """

    cfg: float
    source: TextFeatures
    gate: Tensor | None
    schedule: ScaleSchedule

    def texts(self, model: Infinity, text: TextFeatures) -> TextFeatures:
        """Return B rows each of the target, of no text and of the source."""
        return three_texts(model, text, self.source)

    def texts_at(self, scale: int) -> int:
        """Return 3; at the last scale, where the strength is 0, the source is not used."""
        return 3 if scale < len(self.schedule.scales) - 1 else 2

    def __call__(self, scale: int, logits: Tensor) -> Tensor:
        target, none, *source = odds_of(logits).chunk(self.texts_at(scale))
        baseline = classifier_free(target, none, self.cfg)
        if not source:
            return logits_of(baseline)
        last = len(self.schedule.scales) - 1
        shift = within_trust_region(
            baseline, -FIRST_STRENGTH * (1 - scale / last) * (source[0] - target)
        )
        if self.gate is not None:
            shift = shift * (mask_at(self.gate, scale, self.schedule) > 0)
        return logits_of(baseline + shift)


def within_trust_region(baseline: Tensor, shift: Tensor) -> Tensor:
    """Return the part of a log-odds shift that the published bounds allow, for each bit."""
    share = share_within_divergence(baseline, shift, HALVINGS)
    return (share * shift).clamp(-MAX_SHIFT, MAX_SHIFT)
