"""Products with frozen matrices in FP8, which some GPUs compute twice as fast as those in bf16.

FP8 (e4m3) has 4 significant bits. Each row of both factors is multiplied by a factor of its own, so
that its largest value becomes the largest of FP8. So results are not those of bf16: every product
has an error of about 4 % of its size. docs/weights.md says what this does to a training.

Dimensions: L rows (tokens of the whole batch), N outputs, K inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from editinfinity.models.placement import STREAMED
from editinfinity.models.transformer import Infinity

FP8 = torch.float8_e4m3fn

LARGEST = 448.0
"""Largest value of FP8."""

MIN_SIZE = 16384 * 2048
"""Minimum tokens × width of an iteration for FP8 to be faster.

Infinity-2B at 1M gains with two samples (21,042 × 2048) and not with one, where launching kernels
takes as long as running them.
"""

LEAST_ROW = 1e-30
"""A row whose values are all smaller is scaled as if this were its largest one."""


class Quantised(NamedTuple):
    """A matrix whose rows are ``values`` (R, K) FP8 times ``scales`` (R, 1) fp32."""

    values: Tensor
    scales: Tensor


class Fp8Arithmetic:
    """Quantises matrices and multiplies quantised ones.

    This class is the reference, in plain PyTorch on any device. ``models/fused/fp8.py`` has the
    arithmetic of a GPU, which adds up in another order and less precisely than fp32.
    """

    def quantise(self, x: Tensor) -> Quantised:
        """Round each row of x (R, K) to FP8 numbers times its scale."""
        largest = x.abs().amax(1, keepdim=True).float().clamp(min=LEAST_ROW)
        limit = torch.full_like(largest, LARGEST)  # a number is divided by less exactly
        return Quantised((x.float() * (limit / largest)).to(FP8), largest / limit)

    def multiply(
        self, a: Quantised, b: Quantised, bias: Tensor | None, dtype: torch.dtype
    ) -> Tensor:
        """Return a·bᵀ + bias in ``dtype``, (L, N), for a (L, K) and b (N, K)."""
        product = (a.values.float() @ b.values.float().T) * a.scales * b.scales.T
        return (product if bias is None else product + bias.float()).to(dtype)


class Fp8Matrix(Tensor):
    """A frozen weight (N, K) of a linear layer, whose products are computed in FP8.

    It is an ordinary tensor, which shares the memory of the weight, for everything but
    ``F.linear(x, weight, bias)`` and ``gradient @ weight``. So layers, adapters and fused kernels
    use it without knowing of it. The gradient reaches x only, and it is computed in FP8 too.

    Attributes:
        arithmetic: Computes the products.
        rows: The weight.
        columns: Its transpose (K, N), which gradients are multiplied by.
    """

    arithmetic: Fp8Arithmetic
    rows: Quantised
    columns: Quantised

    @staticmethod
    def of(weight: Tensor, arithmetic: Fp8Arithmetic) -> Fp8Matrix:
        """Return the matrix of a weight that needs no gradient."""
        matrix = weight.detach().as_subclass(Fp8Matrix)
        matrix.arithmetic = arithmetic
        matrix.rows = arithmetic.quantise(weight.detach())
        matrix.columns = arithmetic.quantise(weight.detach().T.contiguous())
        return matrix

    def linear(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """Return x·Wᵀ + bias, (…, N), for x (…, K)."""
        return self._times(x, self.rows, bias)

    def input_gradient(self, gradient: Tensor) -> Tensor:
        """Return gradient·W, (…, K), for the gradient (…, N) of a result of ``linear``."""
        return self._times(gradient, self.columns, None)

    def _times(self, x: Tensor, matrix: Quantised, bias: Tensor | None) -> Tensor:
        rows = self.arithmetic.quantise(x.reshape(-1, x.shape[-1]))
        product = self.arithmetic.multiply(rows, matrix, bias, x.dtype)
        return product.view(*x.shape[:-1], -1)

    @classmethod
    def __torch_function__(
        cls,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if function is F.linear:
            return _Linear.apply(*_linear_arguments(*args, **kwargs))
        if function in _MATMUL and isinstance(args[1], cls):
            return args[1].input_gradient(args[0])
        with torch._C.DisableTorchFunctionSubclass():
            return function(*args, **kwargs)


_MATMUL = (torch.matmul, Tensor.matmul, Tensor.__matmul__)
"""The functions of which PyTorch may say that ``gradient @ weight`` is a call."""


def _linear_arguments(
    input: Tensor, weight: Fp8Matrix, bias: Tensor | None = None
) -> tuple[Tensor, Fp8Matrix, Tensor | None]:
    return input, weight, bias  # the names are those of F.linear


class _Linear(torch.autograd.Function):
    """``Fp8Matrix.linear``, and the gradient of its input."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: Fp8Matrix, bias: Tensor | None) -> Tensor:
        ctx.matrix = matrix
        return matrix.linear(x, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return ctx.matrix.input_gradient(grads[0]), None, None


def reason_against(model: Infinity, tokens: int) -> str | None:
    """Return why a training gains nothing from FP8, or None if it does.

    Args:
        model: The transformer.
        tokens: Number of tokens of all samples of an iteration.
    """
    if tokens * model.config.width < MIN_SIZE:
        return f"it is not faster with {tokens:,} tokens an iteration"
    if model.is_streamed:
        return "it needs all weights on the GPU, and some wait in RAM"
    return None


@contextmanager
def in_fp8(model: Infinity, arithmetic: Fp8Arithmetic) -> Iterator[None]:
    """Compute the products of the blocks' large matrices in FP8 inside the block.

    Both quantised forms of a weight take as much memory as the weight in bf16, in addition to it.

    Args:
        model: The transformer, whose weights are frozen and on their device. Adapters keep their
            precision, and so do the few rows of text.
        arithmetic: Computes the products.
    """
    layers = [_linear_layer(block, name) for block in model.blocks for name in STREAMED]
    weights = [layer._parameters["weight"] for layer in layers]
    try:
        for layer in layers:
            # Not an attribute assignment, which accepts only an nn.Parameter.
            layer._parameters["weight"] = Fp8Matrix.of(layer.weight, arithmetic)  # type: ignore[assignment]
        yield
    finally:
        for layer, weight in zip(layers, weights, strict=True):
            layer._parameters["weight"] = weight


def _linear_layer(block: nn.Module, name: str) -> nn.Linear:
    """Return a linear layer of a block, without the adapter that may be around it."""
    layer: Any = block.get_submodule(name)
    return getattr(layer, "base_layer", layer)
