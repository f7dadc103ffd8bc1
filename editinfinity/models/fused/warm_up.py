"""Compile the kernels and read the libraries that the first image needs, while weights are read.

Each kernel runs on a few tokens. Triton compiles a kernel again for other dtypes, for absent
arguments and for integers that 16 divides. The warm-up therefore matches a real image in these: see
tests/models/test_warm_up.py.

PyTorch reads cuBLAS and cuDNN, hundreds of megabytes, from the disk when it first needs them. On a
machine that has just started, this takes two seconds.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import torch
import torch.nn.functional as F
from torch import nn

from editinfinity.compute import current_device
from editinfinity.models.attention import CUDNN_MIN_QUERIES, attend
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
    """Compile the kernels for sampling (a transformer) or decoding (a tokenizer); read libraries.

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
            libraries = _model_libraries(model, dtype, device)
        elif isinstance(model, TokenizerConfig):
            steps, libraries = _tokenizer_steps(device), _tokenizer_libraries(model, device)
        else:
            steps, libraries = _model_steps(_TINY_MODEL, dtype, device)[:1], []

        def run(step: Step) -> None:
            with torch.no_grad(), current_device(device):  # both settings are per thread
                step()

        def read(library: Step) -> None:
            with suppress(RuntimeError):  # if it is of importance, the image itself reports it
                run(library)

        first, *others = steps
        with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
            reading = pool.map(read, libraries if device.type == "cuda" else ())
            run(first)  # alone, because it builds what all kernels share
            list(pool.map(run, others))
            list(reading)


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


def _model_libraries(
    model: TransformerConfig, dtype: torch.dtype, device: torch.device
) -> list[Step]:
    """Return calls of the libraries for matrix products, and for attention at small and large."""
    width, heads = model.width, model.heads

    def product(dtype: torch.dtype) -> None:
        x = torch.zeros(_TOKENS, width, device=device, dtype=dtype)
        F.linear(x, x.new_zeros(width, width), x.new_zeros(width))

    def attention(queries: int) -> None:
        q = torch.zeros(1, queries, heads, width // heads, device=device, dtype=dtype)
        attend(*[q.transpose(1, 2)] * 3)

    return [
        lambda: attention(CUDNN_MIN_QUERIES),
        lambda: product(dtype),
        lambda: product(torch.float32),
        lambda: attention(_TOKENS),
    ]


def _tokenizer_libraries(model: TokenizerConfig, device: torch.device) -> list[Step]:
    """Return a call of the library for convolutions, as on the coarsest grid of a decoder."""
    channels = model.base_width * model.multipliers[-1]

    def convolution() -> None:
        x = torch.zeros(1, channels, 64, 64, device=device)
        F.conv2d(x, x.new_zeros(channels, channels, 3, 3), padding=1)

    return [convolution]
