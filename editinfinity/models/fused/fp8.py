"""FP8 products of GPUs that have them, and the quantisation of rows in one kernel."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from editinfinity.models.fp8 import FP8, LARGEST, LEAST_ROW, Fp8Arithmetic, Quantised


@triton.jit
def _quantise(x, values, scales, width, LARGEST: tl.constexpr, LEAST: tl.constexpr,
              BLOCK: tl.constexpr):  # fmt: skip
    """Quantise a row; each program processes one."""
    row = tl.program_id(0)
    columns = tl.arange(0, BLOCK)
    inside = columns < width
    offsets = row.to(tl.int64) * width + columns
    value = tl.load(x + offsets, mask=inside, other=0.0).to(tl.float32)
    largest = tl.maximum(tl.max(tl.abs(value), 0), LEAST)
    tl.store(scales + row, tl.div_rn(largest, LARGEST))
    scaled = value * tl.div_rn(LARGEST, largest)
    tl.store(values + offsets, scaled.to(values.dtype.element_ty), mask=inside)


class GpuFp8Arithmetic(Fp8Arithmetic):
    """The arithmetic of NVIDIA GPUs of compute capability 8.9 or more.

    Numbers of rows are free; K and N must be multiples of 16, and the results are bf16.
    """

    def quantise(self, x: Tensor) -> Quantised:
        """See :class:`Fp8Arithmetic`."""
        x = x.contiguous()
        count, width = x.shape
        values = torch.empty(x.shape, dtype=FP8, device=x.device)
        scales = torch.empty(count, 1, device=x.device)
        block = triton.next_power_of_2(width)
        _quantise[(count,)](
            x, values, scales, width, LARGEST=LARGEST, LEAST=LEAST_ROW,
            BLOCK=block, num_warps=min(16, max(1, block // 512)),
        )  # fmt: skip
        return Quantised(values, scales)

    def multiply(
        self, a: Quantised, b: Quantised, bias: Tensor | None, dtype: torch.dtype
    ) -> Tensor:
        """See :class:`Fp8Arithmetic`."""
        # With fast accumulation, sums keep about 14 bits: far more than the factors have.
        return torch._scaled_mm(
            a.values, b.values.t(), a.scales, b.scales.t(), bias,
            out_dtype=dtype, use_fast_accum=True,
        )  # fmt: skip
