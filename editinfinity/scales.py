"""Scale schedules: the sequence of token grids for each image shape.

Infinity generates an image as a sequence of increasingly fine grids ("scales"). Each of the 15
aspect ratios has 13 scales; a pixel budget uses the first 7, 10, 12 or 13 of them. Source:
docs/model.md, "Schedules of scales". This module does not import torch, because Snakemake imports
it to build the DAG.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

Grid = tuple[int, int]
"""Rows and columns of a scale, (h, w)."""

PIXEL_BUDGETS: dict[str, int] = {"0.06M": 7, "0.25M": 10, "0.60M": 12, "1M": 13}
"""Pixel budget → number of scales it uses."""

PIXELS_PER_CELL = 16
"""Side in pixels of one cell of the last scale."""

_TABLE = """
1.000 1,1 2,2 4,4 6,6 8,8 12,12 16,16 20,20 24,24 32,32 40,40 48,48 64,64
1.250 1,1 2,2 3,3 5,4 10,8 15,12 20,16 25,20 30,24 35,28 45,36 55,44 70,56
1.333 1,1 2,2 4,3 8,6 12,9 16,12 20,15 24,18 28,21 36,27 48,36 60,45 72,54
1.500 1,1 2,2 3,2 6,4 9,6 15,10 21,14 27,18 33,22 39,26 48,32 63,42 78,52
1.750 1,1 2,2 3,3 7,4 11,6 14,8 21,12 28,16 35,20 42,24 56,32 70,40 84,48
2.000 1,1 2,2 4,2 6,3 10,5 16,8 22,11 30,15 38,19 46,23 60,30 74,37 90,45
2.500 1,1 2,2 5,2 10,4 15,6 20,8 25,10 30,12 40,16 50,20 65,26 80,32 100,40
3.000 1,1 2,2 6,2 9,3 15,5 21,7 27,9 36,12 45,15 54,18 72,24 90,30 111,37
"""


def _parse_table(table: str) -> dict[float, tuple[Grid, ...]]:
    """Parse the table into ratio h/w → its 13 scales.

    The table lists square and tall ratios; wide ones are added by swapping rows and columns.
    """
    tall: dict[float, tuple[Grid, ...]] = {}
    for line in table.split("\n"):
        if fields := line.split():
            pairs = [cell.split(",") for cell in fields[1:]]
            tall[float(fields[0])] = tuple((int(h), int(w)) for h, w in pairs)
    wide = {
        round(1 / ratio, 3): tuple((w, h) for h, w in scales)
        for ratio, scales in tall.items()
        if ratio > 1
    }
    return dict(sorted({**wide, **tall}.items()))


SCALES_1M: dict[float, tuple[Grid, ...]] = _parse_table(_TABLE)
"""Each of the 15 ratios (height over width) → its 13 scales."""


@dataclass(frozen=True)
class ScaleSchedule:
    """The scales of one aspect ratio at one pixel budget.

    Attributes:
        ratio: height over width, a key of ``SCALES_1M``.
        pixel_budget: a key of ``PIXEL_BUDGETS``.
        patchify: whether the tokenizer's grids are twice as fine as the transformer's (8B model).
    """

    ratio: float
    pixel_budget: str
    patchify: bool = False

    def __post_init__(self) -> None:
        if self.ratio not in SCALES_1M:
            raise ValueError(f"ratio {self.ratio} is not one of {sorted(SCALES_1M)}")
        if self.pixel_budget not in PIXEL_BUDGETS:
            raise ValueError(
                f"pixel budget {self.pixel_budget!r} is not one of {list(PIXEL_BUDGETS)}"
            )

    @cached_property
    def scales(self) -> tuple[Grid, ...]:
        """The transformer's grids, coarse to fine."""
        return SCALES_1M[self.ratio][: PIXEL_BUDGETS[self.pixel_budget]]

    @cached_property
    def tokenizer_scales(self) -> tuple[Grid, ...]:
        """The tokenizer's grids: the same, or twice as fine with patchify."""
        factor = 2 if self.patchify else 1
        return tuple((h * factor, w * factor) for h, w in self.scales)

    @property
    def grid(self) -> Grid:
        """The transformer's last grid."""
        return self.scales[-1]

    @property
    def tokenizer_grid(self) -> Grid:
        """The tokenizer's last grid, on which codes are summed and blended."""
        return self.tokenizer_scales[-1]

    @property
    def reference_grid(self) -> Grid:
        """The ratio's last grid at 1M (for any budget), used for rotary angles and kernels."""
        return SCALES_1M[self.ratio][-1]

    @property
    def image_size(self) -> tuple[int, int]:
        """Size of the generated image, (height, width) in pixels."""
        return self.grid[0] * PIXELS_PER_CELL, self.grid[1] * PIXELS_PER_CELL

    @cached_property
    def lengths(self) -> tuple[int, ...]:
        """Number of tokens of each scale."""
        return tuple(h * w for h, w in self.scales)

    @property
    def tokens(self) -> int:
        """Number of tokens of all scales (521 for 1:1 at 0.06M, 10,521 at 1M)."""
        return sum(self.lengths)


def nearest_ratio(height: int, width: int) -> float:
    """Return the supported height/width ratio nearest to an image's, compared as a quotient."""
    if height < 1 or width < 1:
        raise ValueError(f"an image of {height}×{width} pixels has no aspect ratio")
    target = height / width
    return min(SCALES_1M, key=lambda ratio: max(ratio / target, target / ratio))


def reference_grid(size: tuple[int, int]) -> Grid:
    """Return ``ScaleSchedule.reference_grid`` for a picture of size (height, width)."""
    return SCALES_1M[nearest_ratio(*size)][-1]


def schedule(ratio: float, pixel_budget: str, patchify: bool = False) -> ScaleSchedule:
    """Return the schedule of the supported ratio nearest to ``ratio`` (2/3 gives 0.667)."""
    nearest = min(SCALES_1M, key=lambda known: max(known / ratio, ratio / known))
    return ScaleSchedule(nearest, pixel_budget, patchify)
