"""Files of attention maps and blend masks. This module does not import torch."""

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


def save_map(path: Path, kind: str, values: Map, metadata: Mapping[str, Any]) -> None:
    """Write a map, with metadata about how it was made.

    Args:
        path: the output file.
        kind: ``ATTENTION`` or ``KERNEL``.
        values: the map, (h, w) fp32.
        metadata: how it was made; must be JSON-serialisable.
    """
    save_tensors(path, {kind: values}, {**metadata, "kind": kind})


def load_map(path: Path, kind: str, grid: Grid) -> tuple[Map, dict[str, Any]]:
    """Load a map and the metadata it was saved with.

    Raises:
        UserError: the file is missing or damaged, or the map's shape is not ``grid``.
    """
    arrays, metadata = load_arrays(path, kind, [kind])
    values = arrays[kind]
    if values.shape != tuple(grid):
        raise UserError(
            f"{path}: has a grid of {values.shape}, but the photograph's is {tuple(grid)}; "
            "delete it and run again"
        )
    return values, metadata
