"""Editors: functions and objects that change the code of each scale that the sampler generates.

Source: EditInfinity (arXiv 2510.20217), blending at every scale; docs/method.md, "Stage 4:
sampling".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class Editor(Protocol):
    """Computes the code to keep at a scale from the generated code."""

    def __call__(self, scale: int, generated: Tensor) -> Tensor:
        """Return the code to keep, (B, d, H, W) on the full grid.

        Args:
            scale: Index of the scale, from 0.
            generated: Code that the sampler generated, (B, d, H, W), upsampled to the full grid.
        """
        ...


def keep_generated(scale: int, generated: Tensor) -> Tensor:
    """Keep the generated code, so the whole image may change (``infer_function`` 0)."""
    return generated


class ReplaySource:
    """Keeps the source image's code at every scale (``infer_function`` 1).

    It reproduces the source, so that an attention map of the source can be collected.
    """

    def __init__(self, source: Sequence[Tensor]) -> None:
        """``source`` holds the upsampled code of every scale, each (1, d, H, W)."""
        self.source = source

    def __call__(self, scale: int, generated: Tensor) -> Tensor:
        return self.source[scale].expand_as(generated)


class MaskBlend:
    """Blends E = G·source + (1 − G)·generated at every scale (``infer_function`` 2)."""

    def __init__(self, source: Sequence[Tensor], blend_mask: Tensor) -> None:
        """Blend ``source`` with the blend mask G.

        Args:
            source: Upsampled code of every scale, each (1, d, H, W).
            blend_mask: G, (H, W): 1 keeps the source, 0 takes the generated code.
        """
        self.source = source
        self.blend_mask = blend_mask

    def __call__(self, scale: int, generated: Tensor) -> Tensor:
        # Unlike torch.lerp, exact: the source where G is 1, the generated code where G is 0.
        return self.blend_mask * self.source[scale] + (1 - self.blend_mask) * generated


KernelBlend = MaskBlend
"""Former name of :class:`MaskBlend`."""


class LockFirst:
    """Keeps the source's code at the first scales, then applies another editor.

    The first scales determine the layout of the image.
    """

    def __init__(self, source: Sequence[Tensor], scales: int, then: Editor) -> None:
        """Lock the first ``scales`` scales to the codes ``source``; ``then`` edits the others."""
        self.source, self.scales, self.then = source, scales, then

    def __call__(self, scale: int, generated: Tensor) -> Tensor:
        if scale < self.scales:
            return self.source[scale].expand_as(generated)
        return self.then(scale, generated)
