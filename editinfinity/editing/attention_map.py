"""Attention map of a word: cross-attention averaged while the sampler replays the source image.

Source: EditInfinity (arXiv 2510.20217); docs/method.md, "The automatic mask".
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from editinfinity.scales import ScaleSchedule


class AttentionCollector:
    """Averages the attention to a target word over heads, the word's tokens, blocks and scales.

    Pass it to the sampler as ``watcher``; afterwards, :attr:`mean` is the attention map. Each map
    is upsampled and added to a sum at once, so the full attention is never stored.
    """

    def __init__(self, schedule: ScaleSchedule, span: tuple[int, int]) -> None:
        """Collect the attention to tokens ``span`` = [start, end) of the conditional text."""
        if not 0 <= span[0] < span[1]:
            raise ValueError(f"the token span {span} is empty")
        self.schedule = schedule
        self.span = slice(*span)
        self.total: Tensor | None = None
        self.count = 0

    def watch(self, scale: int, q: Tensor, k: Tensor) -> None:
        """Add the attention of one block; only row 0 of the batch, the conditional text, is used.

        Args:
            scale: Index of the scale of the queries.
            q: Queries, (B, heads, h·w, head width).
            k: Keys, (B, heads, T, head width).
        """
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
