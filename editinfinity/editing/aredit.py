"""AREdit: draw anew only the bits that the two prompts disagree on.

A first pass replays the photograph's own bits with the source prompt and keeps the probabilities
and attention maps that :class:`AREdit` and :class:`SharedAttention` use while drawing. Source:
AREdit (arXiv 2503.23897); docs/method.md, "Methods that compare two prompts".
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from editinfinity.editing.guidance import ClassifierFree
from editinfinity.editing.probabilities import (
    disagreement,
    logits_of,
    mask_at,
    odds_of,
    probability_of_one,
)
from editinfinity.models.transformer import Infinity, TextFeatures
from editinfinity.scales import ScaleSchedule

COPIED_SCALES = 2
"""Number γ of first scales that keep the photograph's bits."""

ATTENTION_SIDE = 16
"""Longest side of the grids at which shared words attend as in the photograph."""

INSIDE = 0.5
"""Weight of the drawing, resized to a scale, above which a token is inside the mask."""


@dataclass(frozen=True)
class AREdit:
    """Classifier-free guidance for some bits; all others keep the photograph's.

    A bit r of the photograph is drawn anew where P_source(r) − P_target(r) exceeds the threshold
    or, with a mask, everywhere inside it.

    Attributes:
        cfg: Strength of the classifier-free guidance; published is 3.
        tau: Temperature of both probabilities; published is 1.
        bits: The photograph's bits of every scale, each (1, L, d).
        source: Probability of bit 1 with the source prompt, given the photograph's own bits; of
            every scale, each (1, L, d).
        threshold: Least difference of the probabilities; published is 0.2.
        mask: Weight of the drawing on the final grid, (H, W); None without a mask.
        schedule: The scales.
    """

    cfg: float
    tau: float
    bits: Sequence[Tensor]
    source: Sequence[Tensor]
    threshold: float
    mask: Tensor | None
    schedule: ScaleSchedule

    def texts(self, model: Infinity, text: TextFeatures) -> TextFeatures:
        """Return the rows [target…, no text…]."""
        return ClassifierFree(self.cfg).texts(model, text)

    def texts_at(self, scale: int) -> int:
        return 2

    def __call__(self, scale: int, logits: Tensor) -> Tensor:
        guided = ClassifierFree(self.cfg)(scale, logits)
        bits = self.bits[scale]
        if self.mask is None:
            target = probability_of_one(guided, self.tau)
            anew = disagreement(self.source[scale], target, bits) > self.threshold
        else:
            anew = mask_at(self.mask, scale, self.schedule) > INSIDE
        certain = torch.where(bits, torch.inf, -torch.inf)
        return logits_of(torch.where(anew, odds_of(guided), certain))


def _attention(q: Tensor, k: Tensor) -> Tensor:
    """Return the attention weights (…, L, T) of queries (…, L, ·) and keys (…, T, ·), fp32."""
    return (q.float() @ k.float().transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1)


@dataclass
class SharedAttention:
    """Cross-attention of the photograph to tokens of the source prompt, to be replayed.

    Pass it to the sampler as ``watcher`` of the source's pass, then :meth:`replayed` as that of the
    drawing.

    Attributes:
        schedule: The scales.
        pairs: (index in the source prompt, index in the target prompt) of each shared token.
        maps: Scale → of each block, the attention (heads, L, pairs) to the shared tokens.
    """

    schedule: ScaleSchedule
    pairs: Sequence[tuple[int, int]]
    maps: dict[int, deque[Tensor]] = field(default_factory=lambda: defaultdict(deque))

    def watch(self, scale: int, q: Tensor, k: Tensor) -> None:
        """Keep the attention of the conditional row at the scales that are replayed."""
        if self.pairs and max(self.schedule.scales[scale]) <= ATTENTION_SIDE:
            columns = [source for source, _ in self.pairs]
            self.maps[scale].append(_attention(q[0], k[0])[..., columns])

    def replayed(self) -> ReplayedAttention:
        """Return the watcher that puts these maps into a drawing, once."""
        return ReplayedAttention(
            {scale: deque(maps) for scale, maps in self.maps.items()},
            [target for _, target in self.pairs],
        )


@dataclass
class ReplayedAttention:
    """Replaces the attention of the conditional row to shared tokens by recorded maps.

    Attributes:
        maps: Scale → maps of the following blocks, each (heads, L, shared tokens).
        columns: The shared tokens' indices in the target prompt.
    """

    maps: dict[int, deque[Tensor]]
    columns: Sequence[int]

    def watch(self, scale: int, q: Tensor, k: Tensor) -> Tensor | None:
        """Return the attention weights (B, heads, L, T) of all rows; None leaves them as they are.

        The rows of each map are normalised again after the replacement.
        """
        if not self.maps.get(scale):
            return None
        weights = _attention(q, k)
        weights[0, ..., self.columns] = self.maps[scale].popleft()
        weights[0] /= weights[0].sum(-1, keepdim=True)
        return weights
