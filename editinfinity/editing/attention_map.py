"""Where a word looks: cross-attention gathered while the sampler replays the source.

Source: EditInfinity (arXiv 2510.20217); docs/method.md, "The automatic mask".
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from editinfinity.scales import ScaleSchedule


class AttentionCollector:
    """Averages a target word's attention over heads, tokens, blocks and scales.

    Hand it to the sampler; afterwards :attr:`mean` is the map. Maps are enlarged and summed as
    they come, so nothing of the size of the full attention is kept.
    """

    def __init__(self, schedule: ScaleSchedule, span: tuple[int, int]) -> None:
        """``span`` is the word's tokens [start, end) in the conditional text."""
        if not 0 <= span[0] < span[1]:
            raise ValueError(f"a token span {span} holds no token")
        self.schedule = schedule
        self.span = slice(*span)
        self.total: Tensor | None = None
        self.count = 0

    def watch(self, scale: int, q: Tensor, k: Tensor) -> None:
        """Add one block's attention; row 0 of the batch is the conditional branch.

        Args:
            scale: index of the scale of the queries.
            q: (B, heads, h·w, head width).
            k: (B, heads, T, head width).
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
        """The map on the ratio's 1M last grid, fp32."""
        if self.total is None:
            raise ValueError("no attention was collected")
        return self.total / self.count
