"""Tell trained weights from random or shuffled ones by their largest singular values.

The largest singular value of a random (m, n) matrix of independent entries of standard deviation
σ is close to σ·(√m + √n) (Marchenko and Pastur). Training makes some directions of a matrix much
stronger. Shuffling the entries of a trained matrix brings its largest singular value down to that
of a random one, although its mean, its norm and its largest entries stay.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import Tensor, nn

_BLOCK = re.compile(r"(?:blocks?|layer|down|up)\.\d+")
"""The part of a tensor's name that names its block, of a transformer, or its level, of the
tokenizer."""

_LEAST_SIDE = 64
"""Shorter side from which the formula above is exact enough."""

_ITERATIONS = 10


@dataclass(frozen=True)
class BlockStructure:
    """The block of a model whose weights are the most like random numbers.

    Attributes:
        block: its name.
        ratio: largest singular value over that of random numbers, of the one matrix of the block
            where this is largest.
    """

    block: str
    ratio: float


def weakest_block(module: nn.Module) -> BlockStructure | None:
    """Return the block with the smallest ratio; None if all matrices are narrower than 64.

    A block counts by its best matrix: training may leave single matrices as they were.
    """
    best: dict[str, float] = {}
    for name, tensor in module.state_dict().items():
        place = _BLOCK.search(name)
        if place and tensor.ndim > 1 and min(tensor.flatten(1).shape) >= _LEAST_SIDE:
            block = name[: place.end()]
            best[block] = max(best.get(block, 0.0), singular_ratio(tensor))
    if not best:
        return None
    block = min(best, key=best.__getitem__)
    return BlockStructure(block, best[block])


@torch.inference_mode()
def singular_ratio(weight: Tensor) -> float:
    """Return a weight's largest singular value over that of random numbers of its size.

    Args:
        weight: (m, …), taken as a matrix (m, n). The result is an estimate from below, by power
            iteration; it is 0 for a constant weight.
    """
    matrix = weight.float().flatten(1)
    matrix = matrix - matrix.mean()
    rows, columns = matrix.shape
    random = matrix.std() * (rows**0.5 + columns**0.5)
    vector = torch.randn(columns, generator=torch.Generator().manual_seed(0)).to(matrix.device)
    for _ in range(_ITERATIONS):
        vector = nn.functional.normalize(matrix.T @ (matrix @ vector), dim=0)
    return float((matrix @ vector).norm() / random.clamp(min=1e-30))
