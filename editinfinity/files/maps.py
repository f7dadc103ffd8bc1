"""Files of attention maps, prompt maps and blend masks. This module does not import torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
PROMPT_MAPS = "prompt_maps"


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
    _require_grid(values, path, grid)
    return values, metadata


def normalised(values: Map) -> Map:
    """Return a map scaled to [0, 1]; a constant one becomes 0."""
    low, high = values.min(), values.max()
    return np.asarray((values - low) / (high - low) if high > low else np.zeros_like(values))


@dataclass(frozen=True)
class PromptMaps:
    """Soft maps of the place of an edit, each (h, w) fp32 on ``schedule.reference_grid``.

    Attributes:
        bits: how much less likely the photograph's bits are given the edit prompt, in [0, 1].
        words: attention to the changed words, in [0, 1]; None if no word has changed.
        gone, new: the changed words of the source prompt and of the edit prompt.
        is_addition: whether the edit only adds something.
    """

    bits: Map
    words: Map | None
    gone: tuple[str, ...]
    new: tuple[str, ...]
    is_addition: bool

    def of(self, source: str) -> Map:
        """Return one map in [0, 1], high where the edit is.

        Args:
            source: ``words``, ``bits``, or ``both`` for their product. Without changed words, all
                are the map of the bits.
        """
        bits = normalised(self.bits)
        if self.words is None or source == "bits":
            return bits
        words = normalised(self.words)
        return words if source == "words" else words * bits

    def save(self, path: Path, preset: str) -> None:
        """Write the file; equal maps give equal bytes."""
        arrays = {"bits": self.bits} | ({} if self.words is None else {"words": self.words})
        metadata = {"gone": self.gone, "new": self.new, "is_addition": self.is_addition}
        save_tensors(path, arrays, {**metadata, "kind": PROMPT_MAPS, "preset": preset})

    @classmethod
    def load(cls, path: Path, grid: Grid | None = None) -> PromptMaps:
        """Read the file, whose maps must have the grid, if one is given.

        Raises:
            UserError: the file is missing or damaged, or the shape of a map is not ``grid``.
        """
        arrays, metadata = load_arrays(path, PROMPT_MAPS, ["bits"])
        for values in arrays.values():
            _require_grid(values, path, grid or arrays["bits"].shape)
        try:
            gone, new, is_addition = (metadata[key] for key in ("gone", "new", "is_addition"))
        except KeyError as error:
            raise UserError(f"{path}: is damaged ({error}); delete it and run again") from None
        return cls(arrays["bits"], arrays.get("words"), tuple(gone), tuple(new), bool(is_addition))


def _require_grid(values: Map, path: Path, grid: Grid) -> None:
    if values.shape != tuple(grid):
        raise UserError(
            f"{path}: has a grid of {values.shape}, but the photograph's is {tuple(grid)}; "
            "delete it and run again"
        )
