"""Attention maps of words: cross-attention averaged while the model sees the source image's codes.

Source: EditInfinity (arXiv 2510.20217); docs/method.md, "The automatic mask".
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from editinfinity.models import bsq
from editinfinity.prompts import Span
from editinfinity.scales import ScaleSchedule

FINE_TOKENS = 36
"""Minimum number of tokens of a scale whose attention shows where a word is, 6×6 for a square.

Coarser scales decide about the whole picture, and their attention has little to do with places. The
number is the same for all pixel budgets, as a grid's first job is the layout at its own size.
"""


def scales_of_at_least(schedule: ScaleSchedule, tokens: int) -> range:
    """Return the scales of at least this many tokens, from the first one to the last scale."""
    first = next(scale for scale, length in enumerate(schedule.lengths) if length >= tokens)
    return range(first, len(schedule.scales))


class AttentionCollector:
    """Averages the attention to a target word over heads, the word's tokens, blocks and scales.

    Pass it to the sampler as ``watcher``; afterwards, :attr:`mean` is the attention map. Each map
    is upsampled and added to a sum at once, so the full attention is never stored.
    """

    def __init__(
        self,
        schedule: ScaleSchedule,
        span: Span,
        scales: Collection[int] | None = None,
    ) -> None:
        """Collect attention to tokens ``span`` = [start, end) at some scales; None for all."""
        if not 0 <= span[0] < span[1]:
            raise ValueError(f"the token span {span} is empty")
        self.schedule = schedule
        self.span = slice(*span)
        self.scales = range(len(schedule.scales)) if scales is None else scales
        self.total: Tensor | None = None
        self.count = 0

    def watch(self, scale: int, q: Tensor, k: Tensor) -> None:
        """Add the attention of one block.

        Args:
            scale: Index of the scale of the queries.
            q: Queries, (B, heads, h·w, head width); row 0 is the conditional text.
            k: Keys, (B, heads, T, head width).
        """
        if scale not in self.scales:
            return
        scores = q[0].float() @ k[0].float().transpose(-1, -2) * q.shape[-1] ** -0.5
        word = scores.softmax(-1)[..., self.span].mean(dim=(0, 2))
        grid_map = word.reshape(1, 1, *self.schedule.scales[scale])
        large = F.interpolate(
            grid_map, size=self.schedule.reference_grid, mode="bilinear", align_corners=False
        )[0, 0]
        self.total = large if self.total is None else self.total + large
        self.count += 1

    @property
    def mean(self) -> Tensor:
        """Attention map on the aspect ratio's finest grid at 1M pixels, fp32."""
        if self.total is None:
            raise ValueError("no attention was collected")
        return self.total / self.count


class WordAttention:
    """Averages the attention to words, in one pass over all scales (teacher forcing).

    Pass it to :class:`~editinfinity.models.transformer.Infinity` as ``observe``; afterwards,
    :meth:`maps` has the map of each word: the mean over heads, the word's tokens, blocks and the
    scales of at least ``FINE_TOKENS`` tokens.
    """

    def __init__(self, schedule: ScaleSchedule, mask: Tensor | None) -> None:
        """``mask`` (B, T) is False where a text of the batch is padded; None for no padding."""
        self.schedule, self.mask = schedule, mask
        self.scales = scales_of_at_least(schedule, FINE_TOKENS)
        self.total: Tensor | None = None
        self.count = 0

    def __call__(self, q: Tensor, k: Tensor) -> None:
        """Add the attention of one block.

        Args:
            q: Queries of all scales, (B, heads, L, head width).
            k: Keys, (B, heads, T, head width).
        """
        fine = q[:, :, sum(self.schedule.lengths[: self.scales.start]) :].float()
        scores = fine @ k.float().transpose(-1, -2) * q.shape[-1] ** -0.5
        if self.mask is not None:
            scores = scores.masked_fill(~self.mask[:, None, None], -torch.inf)
        attention = scores.softmax(-1).mean(1)
        self.total = attention if self.total is None else self.total + attention
        self.count += 1

    def maps(self, row: int, spans: Sequence[Span]) -> Tensor:
        """Return the map of each word, (words, h, w) fp32 on the finest grid at 1M pixels.

        Args:
            row: The row of the batch that has the text.
            spans: Tokens of each word: first, and one past the last; at least one word.

        Raises:
            ValueError: No attention was collected.
        """
        if self.total is None:
            raise ValueError("no attention was collected")
        attention = self.total[row] / self.count
        words = torch.stack([attention[:, start:end].mean(-1) for start, end in spans])
        return mean_over_scales(words[..., None], self.schedule, self.scales)


def mean_over_scales(
    tokens: Tensor, schedule: ScaleSchedule, scales: range, *, patchify: bool = False
) -> Tensor:
    """Return maps of the values that the tokens of some scales have.

    Args:
        tokens: (B, L, d) with the L tokens of ``scales``, one scale after another.
        schedule: The scales.
        scales: Which of them ``tokens`` has.
        patchify: Whether a token's values are those of 2×2 cells.

    Returns:
        The mean over scales and over the values of a cell, (B, h, w) on the aspect ratio's finest
        grid at 1M pixels.
    """
    parts = tokens.split([schedule.lengths[scale] for scale in scales], dim=1)
    cells = (
        bsq.unfold(part, schedule.scales[scale], patchify).mean(1, keepdim=True)
        for scale, part in zip(scales, parts, strict=True)
    )
    large = [
        F.interpolate(each, schedule.reference_grid, mode="bilinear", align_corners=False)
        for each in cells
    ]
    return torch.cat(large, dim=1).mean(1)
