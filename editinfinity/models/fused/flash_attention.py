"""Attention of the large scales with FlashAttention-4, where the package is installed.

FlashAttention-4 (``pip install 'editinfinity[flash]'``) is faster than PyTorch's attention where
there is much to compute: for the large scales of a batch. Its gradients differ from PyTorch's by
rounding. The reference is :meth:`editinfinity.models.operations.Operations.attend`.

Dimensions: B batch, H heads, L queries, T keys, D head width.
"""

from __future__ import annotations

import importlib.util
import logging
import warnings
from functools import cache

import torch
from torch import Tensor

from editinfinity.errors import first_sentence

log = logging.getLogger(__name__)

MIN_QUERIES = 1000
"""Minimum number of queries of a sample; with fewer, PyTorch's attention is as fast."""

MIN_BATCH = 2
"""Minimum number of samples; with one, PyTorch's attention is as fast."""

HEAD_WIDTH = 128
"""Head width of the released models from 2B on, for which the package was measured."""


def is_installed() -> bool:
    """Return whether the package is installed; of it, only ``flash_attn`` itself is imported."""
    try:
        return importlib.util.find_spec("flash_attn.cute") is not None
    except (ImportError, OSError, ValueError) as error:  # or an older release cannot be imported
        log.debug("flash_attn cannot be imported", exc_info=error)
        return False


def suits(q: Tensor) -> bool:
    """Return whether queries q (B, H, L, D) of a training are attended to with the package."""
    batch, _, length, width = q.shape
    large = batch >= MIN_BATCH and length >= MIN_QUERIES and width == HEAD_WIDTH
    if not (large and q.dtype == torch.bfloat16 and q.requires_grad):
        return False
    return not torch.are_deterministic_algorithms_enabled() and _works(q.device)


@cache
def _works(device: torch.device) -> bool:
    """Return whether the package computes attention and its gradient on a GPU; warn if it fails.

    It compiles its kernels here, once a process, which takes ten seconds.
    """
    if device.type != "cuda" or not is_installed():
        return False
    if torch.cuda.get_device_capability(device) < (9, 0):
        return False
    try:
        with torch.enable_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about its own types
            size = (MIN_BATCH, 1, 256, HEAD_WIDTH)
            trial = torch.zeros(size, device=device, dtype=torch.bfloat16).requires_grad_()
            attend(trial, trial, trial).sum().backward()
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # its compiler's errors have no common type
        log.debug("FlashAttention-4 fails", exc_info=error)
        what = f"{type(error).__name__}: {first_sentence(error)}"
        log.warning("FlashAttention-4 fails (%s); PyTorch's attention is used", what)
        return False
    return True


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return attention with scale 1, (B, H, L, D), of q to k and v (B, H, T, D)."""
    from flash_attn.cute import flash_attn_func

    out, _ = flash_attn_func(*(part.transpose(1, 2) for part in (q, k, v)), softmax_scale=1.0)
    return out.transpose(1, 2)
