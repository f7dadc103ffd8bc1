"""Attention map of a word: cross-attention averaged while the sampler replays the source image.

Source: EditInfinity (arXiv 2510.20217); docs/method.md, "The automatic mask".
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch.nn.functional as F
from torch import Tensor

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
        span: tuple[int, int],
        scales: Collection[int] | None = None,
        row: int = 0,
        tokens: int | None = None,
    ) -> None:
        """Collect the attention to tokens ``span`` = [start, end) of a text.

        Args:
            schedule: The scales.
            span: Tokens of the word: first, and one past the last.
            scales: The scales to average; None for all.
            row: The row of the batch that has the text; row 0 is the conditional text.
            tokens: Number of tokens of the text; None if no row is padded.
        """
        if not 0 <= span[0] < span[1]:
            raise ValueError(f"the token span {span} is empty")
        self.schedule = schedule
        self.span = slice(*span)
        self.scales = range(len(schedule.scales)) if scales is None else scales
        self.row, self.tokens = row, tokens
        self.total: Tensor | None = None
        self.count = 0

    def watch(self, scale: int, q: Tensor, k: Tensor) -> None:
        """Add the attention of one block.

        Args:
            scale: Index of the scale of the queries.
            q: Queries, (B, heads, h·w, head width).
            k: Keys, (B, heads, T, head width).
        """
        if scale in self.scales:
            self.add(scale, self.attention(q, k))

    def attention(self, q: Tensor, k: Tensor) -> Tensor:
        """Return the attention to all tokens of the text, (heads, h·w, tokens) fp32."""
        keys = k[self.row, :, : self.tokens].float()
        scores = q[self.row].float() @ keys.transpose(-1, -2) * q.shape[-1] ** -0.5
        return scores.softmax(-1)

    def add(self, scale: int, attention: Tensor) -> None:
        """Add the attention of one block, a result of :meth:`attention`."""
        word = attention[..., self.span].mean(dim=(0, 2))
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


class AttentionCollectors:
    """Passes the attention on to several collectors, one for each word.

    The attention of a block is computed once for all words of a text.
    """

    def __init__(self, collectors: Sequence[AttentionCollector]) -> None:
        """``collectors`` may be empty."""
        self.collectors = collectors

    def watch(self, scale: int, q: Tensor, k: Tensor) -> None:
        """See :meth:`AttentionCollector.watch`."""
        of_text: dict[tuple[int, int | None], Tensor] = {}
        for collector in self.collectors:
            if scale not in collector.scales:
                continue
            text = collector.row, collector.tokens
            if text not in of_text:
                of_text[text] = collector.attention(q, k)
            collector.add(scale, of_text[text])
