"""Add up the gradients of all prefixes of the keys and values in one pass.

Each scale attends to a longer prefix of the keys and values than the one before. Its gradients
cover that prefix only. Dimensions: B batch, H heads, L tokens, D head width.
"""

from __future__ import annotations

from collections.abc import Sequence

import triton
import triton.language as tl
from torch import Tensor

_PARTS = 8
"""Maximum number of parts that one pass adds; a schedule has fewer."""


@triton.jit
def _add_row(sums, part, end, batch, row, columns, inside, width):
    """Return ``sums`` plus a row of a part (B, end, width), if the part has that row."""
    offsets = (batch * end + row).to(tl.int64) * width + columns
    return sums + tl.load(part + offsets, mask=inside & (row < end), other=0.0).to(tl.float32)


@triton.jit(do_not_specialize=["length", *(f"end{n}" for n in range(_PARTS))])
def _add(
    total, part0, part1, part2, part3, part4, part5, part6, part7,
    length, end0, end1, end2, end3, end4, end5, end6, end7,
    width, COUNT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Add up to eight parts to ``total``; each program processes one token."""
    row, batch = tl.program_id(0), tl.program_id(1)
    columns = tl.arange(0, BLOCK)
    inside = columns < width
    offsets = (batch * length + row).to(tl.int64) * width + columns
    sums = tl.load(total + offsets, mask=inside, other=0.0).to(tl.float32)
    sums = _add_row(sums, part0, end0, batch, row, columns, inside, width)
    if COUNT > 1:
        sums = _add_row(sums, part1, end1, batch, row, columns, inside, width)
    if COUNT > 2:
        sums = _add_row(sums, part2, end2, batch, row, columns, inside, width)
    if COUNT > 3:
        sums = _add_row(sums, part3, end3, batch, row, columns, inside, width)
    if COUNT > 4:
        sums = _add_row(sums, part4, end4, batch, row, columns, inside, width)
    if COUNT > 5:
        sums = _add_row(sums, part5, end5, batch, row, columns, inside, width)
    if COUNT > 6:
        sums = _add_row(sums, part6, end6, batch, row, columns, inside, width)
    if COUNT > 7:
        sums = _add_row(sums, part7, end7, batch, row, columns, inside, width)
    tl.store(total + offsets, sums.to(total.dtype.element_ty), mask=inside)


def can_add(total: Tensor, parts: Sequence[Tensor]) -> bool:
    """Return whether all tensors have the memory layout (B, L, H, D)."""
    return all(tensor.transpose(1, 2).is_contiguous() for tensor in (total, *parts))


def add_prefixes(total: Tensor, parts: Sequence[Tensor]) -> None:
    """Add each part (B, H, ·, D) to the first tokens of ``total`` (B, H, L, D), in place.

    Sums are computed in fp32 and rounded once per eight parts.
    """
    batch, heads, length, head_width = total.shape
    width = heads * head_width
    for start in range(0, len(parts), _PARTS):
        chunk = parts[start : start + _PARTS]
        ends = [part.shape[2] for part in chunk]
        unused = _PARTS - len(chunk)
        _add[(max(ends), batch)](
            total, *chunk, *[total] * unused, length, *ends, *[0] * unused, width,
            COUNT=len(chunk), BLOCK=triton.next_power_of_2(width), num_warps=4,
        )  # fmt: skip
