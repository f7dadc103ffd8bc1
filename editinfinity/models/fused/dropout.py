"""Dropout with a mask that is computed from a seed and the element index, so it is never stored.

The 32-bit index of an element, combined with the seed, is hashed with the finaliser "lowbias32" by
C. Wellons, without its last step, which mixes the low bits. The element is kept if the hash is at
least rate·2³². ``tests/models/test_fused.py`` contains the same computation in PyTorch.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _hash(x):
    """Return a hash, uint32 → uint32."""
    x = x ^ (x >> 16)
    x = x * 0x7FEB352D
    x = x ^ (x >> 15)
    return x * 0x846CA68B


@triton.jit
def dropout(x, index, seed, threshold, DROP: tl.constexpr):
    """Return x with dropped elements set to 0, without the factor 1 / (1 − rate).

    ``index`` is uint32 of x's shape, ``threshold`` a whole number below 2³², and ``seed`` the
    address of one: a recorded pass reads another seed each time it is replayed.
    """
    if DROP:
        kept = _hash(index ^ tl.load(seed).to(tl.uint32)) >= threshold.to(tl.uint32)
        x = tl.where(kept, x, 0.0)
    return x


def threshold_of(rate: float) -> int:
    """Return the smallest hash of a kept element."""
    return min(round(rate * 2**32), 2**32 - 1)


class DropoutSeeds:
    """Draws the seeds of the two dropout masks of each feed-forward, from torch's CPU generator.

    Gradient checkpointing restores the generator's state, so a recomputation uses the same masks.
    """

    def __call__(self, device: torch.device) -> Tensor:
        """Return the two seeds, int64, on a device."""
        return torch.randint(2**31, (2,)).to(device, non_blocking=True)


class GivenSeeds(DropoutSeeds):
    """Returns seeds from a tensor, one row after another.

    Args:
        rows: Seeds (feed-forwards, 2) int64. They are read when the kernels run.
    """

    def __init__(self, rows: Tensor) -> None:
        self._rows = iter(rows)

    def __call__(self, device: torch.device) -> Tensor:
        """See :class:`DropoutSeeds`."""
        return next(self._rows)
