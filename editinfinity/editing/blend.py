"""Editing objects: what the sampler does with a freshly drawn scale.

Source: EditInfinity (arXiv 2510.20217), blending at every scale; docs/method.md, "Stage 4:
sampling".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class Editor(Protocol):
    """Turns the generated code of a scale into the one that is kept."""

    def __call__(self, scale: int, generated: Tensor) -> Tensor:
        """Both (B, d, H, W), enlarged to the full grid; ``scale`` counts from 0."""
        ...


def keep_generated(scale: int, generated: Tensor) -> Tensor:
    """No blending: the whole picture may change (``infer_function`` 0)."""
    return generated


class ReplaySource:
    """The source's own code at every scale (``infer_function`` 1): only to watch attention."""

    def __init__(self, source: Sequence[Tensor]) -> None:
        """``source`` holds the enlarged code of every scale, (1, d, H, W) each."""
        self.source = source

    def __call__(self, scale: int, generated: Tensor) -> Tensor:
        return self.source[scale].expand_as(generated)


class KernelBlend:
    """E = G·source + (1 − G)·generated at every scale (``infer_function`` 2)."""

    def __init__(self, source: Sequence[Tensor], kernel: Tensor) -> None:
        """``kernel`` G is (H, W): 1 keeps the source, 0 takes what is generated."""
        self.source = source
        self.kernel = kernel

    def __call__(self, scale: int, generated: Tensor) -> Tensor:
        # Written out, not lerp: exactly the source where G is 1, the generated where it is 0.
        return self.kernel * self.source[scale] + (1 - self.kernel) * generated


class LockFirst:
    """The source's own code at the first scales, which hold the picture's layout; then another."""

    def __init__(self, source: Sequence[Tensor], scales: int, then: Editor) -> None:
        """``scales`` are locked; ``then`` edits the rest."""
        self.source, self.scales, self.then = source, scales, then

    def __call__(self, scale: int, generated: Tensor) -> Tensor:
        if scale < self.scales:
            return self.source[scale].expand_as(generated)
        return self.then(scale, generated)
