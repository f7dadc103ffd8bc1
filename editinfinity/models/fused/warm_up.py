"""Compile the kernels that the first image needs, by running each on a few tokens.

Triton compiles a kernel again for other dtypes, for absent arguments and for integers that 16
divides. The warm-up therefore matches a real image in these: see tests/models/test_warm_up.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import nn

from editinfinity.compute import current_device
from editinfinity.models.fused import norm, rotary
from editinfinity.models.fused.group_norm import group_norm_swish
from editinfinity.presets import TokenizerConfig, TransformerConfig

Step = Callable[[], object]

_TOKENS = 16
_THREADS = 8


def warm_up(
    device: torch.device,
    model: TransformerConfig | TokenizerConfig | None = None,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Compile the kernels for sampling (a transformer) or decoding (a tokenizer).

    Args:
        device: GPU on which to run the kernels.
        model: Configuration of the transformer or tokenizer; None compiles a single kernel.
        dtype: Dtype of the blocks of a transformer.

    Raises:
        Exception: Any exception that the compiler or driver raises if the kernels do not work.
    """
    with torch.no_grad(), current_device(device):
        if isinstance(model, TransformerConfig):
            steps = _model_steps(model, dtype, device)
        elif isinstance(model, TokenizerConfig):
            steps = _tokenizer_steps(device)
        else:
            steps = _model_steps(_TINY_MODEL, dtype, device)[:1]

        def run(step: Step) -> None:
            with torch.no_grad(), current_device(device):  # both settings are per thread
                step()

        first, *others = steps
        run(first)  # alone, because it builds what all kernels share
        with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
            list(pool.map(run, others))


_TINY_MODEL = TransformerConfig(width=64, depth=1, heads=1, chunks=1, bits=1, text_width=64)


def _model_steps(model: TransformerConfig, dtype: torch.dtype, device: torch.device) -> list[Step]:
    """Return calls of the kernels of a block in ``dtype`` and of the head."""
    width, heads = model.width, model.heads
    x = torch.zeros(1, _TOKENS, width, device=device)
    branch, qkv = x.to(dtype), x.to(dtype).repeat(1, 1, 3)
    vector = torch.zeros(1, 1, width, device=device)
    bias, temperature = vector.flatten(), vector[..., :heads].reshape(1, heads, 1, 1)
    table = torch.zeros(2, _TOKENS, width // heads // 2, device=device)
    return [
        lambda: norm.add_norm(x, None, None, vector, vector, dtype),
        lambda: norm.add_norm(x, branch, vector, vector, vector, dtype),
        lambda: norm.add_norm(x, branch, None, vector, vector, dtype),
        lambda: norm.add_norm(x, branch, vector, vector, vector, torch.float32),
        lambda: rotary.queries_keys_values(qkv, bias, bias, temperature, table),
    ]


def _tokenizer_steps(device: torch.device) -> list[Step]:
    """Return calls of the kernels of a tokenizer's decoder."""
    groups = nn.GroupNorm(2, 32, device=device)
    x = torch.zeros(1, 32, 64, 64, device=device)
    return [lambda: group_norm_swish(groups, x)]
