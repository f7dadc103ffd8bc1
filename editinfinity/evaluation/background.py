"""Background preservation: PSNR, SSIM and mean squared error outside the mask.

Computed with torchmetrics, ``data_range`` 1. As in the benchmark's evaluator, both pictures are
multiplied by 1 − mask and compared over the whole canvas. The masked region is black in both and so
counts as preserved: the larger the mask, the better the numbers.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torchmetrics.functional.image import (
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)
from torchmetrics.functional.regression import mean_squared_error

from editinfinity.evaluation.canvas import Mask, Pixels
from editinfinity.evaluation.names import PSNR_CAP


def background_of(pixels: Pixels, edited: Mask) -> Tensor:
    """Return the picture multiplied by 1 − mask, (1, 3, H, W) fp32 in [0, 1]."""
    kept = pixels.astype(np.float32) / 255 * (~edited)[..., None].astype(np.float32)
    return torch.from_numpy(kept).permute(2, 0, 1)[None].contiguous()


def background_metrics(source: Pixels, result: Pixels, edited: Mask) -> dict[str, float]:
    """Compute PSNR (decibels, at most ``PSNR_CAP``), SSIM and MSE of the background.

    Args:
        source: the picture before the edit.
        result: the picture after the edit, of the same size.
        edited: mask, True where the picture may change.

    Returns:
        ``background_psnr``, ``background_ssim``, ``background_mse``; nan if the mask covers the
        whole picture.

    Raises:
        ValueError: if the sizes differ.
    """
    if not source.shape[:2] == result.shape[:2] == edited.shape:
        shapes = f"{source.shape[:2]}, {result.shape[:2]} and {edited.shape}"
        raise ValueError(f"pictures and mask must be of one size, got {shapes}")
    if edited.all():
        return dict.fromkeys(("background_psnr", "background_ssim", "background_mse"), math.nan)
    before, after = background_of(source, edited), background_of(result, edited)
    decibels = float(peak_signal_noise_ratio(after, before, data_range=1.0))
    structure = structural_similarity_index_measure(after, before, data_range=1.0)
    assert isinstance(structure, Tensor)
    return {
        "background_psnr": min(decibels, PSNR_CAP),
        "background_ssim": float(structure),
        "background_mse": float(mean_squared_error(after, before)),
    }
