"""Attention maps and smoothing kernels on disk. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from editinfinity.errors import UserError
from editinfinity.files.tensors import load_arrays, save_tensors
from editinfinity.scales import Grid

Map = NDArray[np.float32]

ATTENTION = "attention"
KERNEL = "kernel"


def save_map(path: Path, kind: str, values: Map, facts: Mapping[str, Any]) -> None:
    """Write a map (h, w), with facts about how it was made.

    Args:
        path: where to.
        kind: ``ATTENTION`` or ``KERNEL``.
        values: fp32.
        facts: what JSON can carry.
    """
    save_tensors(path, {kind: values}, {**facts, "kind": kind})


def load_map(path: Path, kind: str, grid: Grid) -> tuple[Map, dict[str, Any]]:
    """A map and the facts it was saved with.

    Raises:
        UserError: the file is missing or damaged, or the map is not on ``grid``.
    """
    arrays, facts = load_arrays(path, kind, [kind])
    values = arrays[kind]
    if values.shape != tuple(grid):
        raise UserError(
            f"{path}: is on a grid of {values.shape}, the photograph's is {tuple(grid)}; "
            "delete it and run again"
        )
    return values, facts
