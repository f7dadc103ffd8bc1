"""Dropout whose mask is a function of a seed and of the place, so that nobody has to keep it.

A place's 32-bit index, mixed with the seed, is hashed (the finaliser "lowbias32" by C. Wellons, but
for its last step, which mixes the low bits); the place is kept where the hash is at or above
rate·2³². ``tests/models/test_fused.py`` has the same in PyTorch.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _hash(x):
    """uint32 → uint32."""
    x = x ^ (x >> 16)
    x = x * 0x7FEB352D
    x = x ^ (x >> 15)
    return x * 0x846CA68B


@triton.jit
def dropped(x, index, seed, threshold, DROP: tl.constexpr):
    """X where it is kept, else 0; without the factor 1 / (1 − rate).

    ``index`` is uint32 of x's shape, ``seed`` and ``threshold`` whole numbers below 2³².
    """
    if DROP:
        kept = _hash(index ^ seed.to(tl.uint32)) >= threshold.to(tl.uint32)
        x = tl.where(kept, x, 0.0)
    return x


def threshold_of(rate: float) -> int:
    """The hash from which on a place is kept."""
    return min(round(rate * 2**32), 2**32 - 1)
