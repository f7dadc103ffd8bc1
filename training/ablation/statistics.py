"""Means over edits with confidence intervals, and paired differences between variants.

Intervals are 95 % percentile bootstraps over edits, by a fixed seed. All variants share the
resampled edits, so that differences are of pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

RESAMPLES, SEED = 10_000, 0
LEVEL = 0.95

Key = tuple[str, ...]
"""Key of a variant: inversion, or inversion, kernel and guidance."""


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % confidence interval."""

    mean: float
    low: float
    high: float

    def cell(self, scale: float = 1.0, digits: int = 2, signed: bool = False) -> str:
        """Return ``12.34 (11.90…12.80)``, in bold for a difference whose interval excludes 0."""
        if np.isnan(self.mean):
            return "–"
        sign = "+" if signed else ""
        low, mean, high = (
            f"{value * scale:{sign}.{digits}f}".replace("-", "−")
            for value in (self.low, self.mean, self.high)
        )
        text = f"{mean} ({low}…{high})"
        return f"**{text}**" if signed and (self.low > 0 or self.high < 0) else text


class Measurements:
    """A table with one row per edit and variant, and one column per measure."""

    def __init__(self, path: Path, names: Key) -> None:
        """Read a table; ``names`` are the columns that make up the key of a variant."""
        table = pd.read_csv(path, sep="\t", keep_default_na=True, dtype=dict.fromkeys(names, str))
        self.names = names
        self.table = table.set_index([*names, "edit"]).sort_index()

    def __contains__(self, key: Key) -> bool:
        """Return whether the table contains a variant."""
        return (key if len(key) > 1 else key[0]) in self.table.index.droplevel("edit")

    def of(self, key: Key, measure: str) -> np.ndarray:
        """Return a measure of a variant in the order of the edits; nan where it is missing."""
        return self.table.loc[key][measure].to_numpy(dtype=np.float64)

    def mean(self, key: Key, measure: str) -> Interval:
        """Return the mean of a measure over the edits that have it."""
        return interval(self.of(key, measure))

    def difference(self, key: Key, reference: Key, measure: str) -> Interval:
        """Return the mean difference from a reference over paired edits."""
        return interval(self.of(key, measure) - self.of(reference, measure))


def interval(values: np.ndarray) -> Interval:
    """Return the mean of some values and its bootstrap interval; nan values are ignored."""
    values = values[~np.isnan(values)]
    if not len(values):
        return Interval(float("nan"), float("nan"), float("nan"))
    rng = np.random.default_rng(SEED)
    means = values[rng.integers(0, len(values), (RESAMPLES, len(values)))].mean(1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(values.mean()), float(low), float(high))
