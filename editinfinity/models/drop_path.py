"""Drop path: training skips attention and feed-forward branches at random.

Source: docs/model.md, "Transformer". Dimensions: B batch.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class KeptBranches(NamedTuple):
    """The branches that each sample of a batch keeps in a forward pass.

    Attributes:
        factors: Factor of every branch's gate, (blocks, 2, B) fp32: 1 / (keep probability) for a
            kept branch, 0 for a dropped one.
        computed: Whether each block computes its two branches. A branch that all samples drop can
            be skipped; computing it with a factor of 0 gives the same result.
    """

    factors: Tensor
    computed: list[list[bool]]


class DropPath:
    """Draws the kept branches of each forward pass.

    Args:
        rates: Probability of dropping the branches of each block, (blocks,) fp32.
    """

    def __init__(self, rates: Tensor) -> None:
        self.rates = rates

    def __call__(self, batch: int) -> KeptBranches | None:
        """Draw for a batch; return None if nothing can be dropped.

        The draw is on the CPU, so reading it needs no synchronisation with a GPU.
        """
        if not self.rates.any():
            return None
        rates = self.rates[:, None, None]
        keep = torch.rand(len(rates), 2, batch) >= rates
        return KeptBranches(keep / (1 - rates), keep.any(2).tolist())
