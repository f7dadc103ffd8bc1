"""Settings that are chosen on edits of their own: confidence, scales, threshold and localiser."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from editinfinity.editing.prompt_region import cells_of_soft_map
from editinfinity.files.masks import grow_mask
from editinfinity.settings.groups import FOUND, MaskSettings
from training.two_prompts.drawing import Bench, Row, drawn_rows, iou
from training.two_prompts.recipes import BOTH, METHODS, NONE, Method

THRESHOLDS = (None, 0.2, 0.3, 0.4, 0.45, 0.5, 0.6)
"""Shares of the map's range above which a cell is edited; None is Otsu's method."""

FINE_THRESHOLDS = tuple(n / 40 for n in range(2, 38))
"""Shares among which the best one of each edit is looked for."""

GROWN = (0, 1, 2, 3)
CONFIDENCES = (0.8, 0.9, 0.95, 1.0)
SCALES = ((1, 5), (2, 5), (2, 6), (2, 7), (3, 6), (3, 7))
"""First scales that EditMod copies, and copies or mixes, of the bundled model's seven."""

AREDIT = (0.05, 0.1, 0.2, 0.3)


def found_rows(bench: Bench) -> Iterator[Row]:
    """Yield the overlap with the true place for every threshold, map and filter."""
    maps = bench.maps()
    soft = {place: maps.of(place) for place in FOUND}
    soft["bits*sqrt(words)"] = maps.of("bits") * np.sqrt(maps.of("words"))
    for place, follow in product(soft, (True, False)):
        overlaps: dict[float | None, float] = {}
        for threshold in (*THRESHOLDS, *FINE_THRESHOLDS):
            cells = cells_of_soft_map(
                soft[place], bench.photograph.pixels, threshold,
                follow_edges=follow and not maps.is_addition,
            )  # fmt: skip
            overlaps[threshold] = iou(grow_mask(cells, 0), bench.true_cells)
        rows = {("otsu" if t is None else t): overlaps[t] for t in THRESHOLDS}
        rows["best"] = max(overlaps.values())  # of this edit: what no rule for it can exceed
        for name, overlap in rows.items():
            yield {"place": place, "threshold": name, "filter": int(follow), "iou": overlap}


def methods() -> Iterator[Method]:
    """Yield the methods to compare, each named by its settings."""
    for (copied, mixed), confidence in product(SCALES, CONFIDENCES):
        yield Method(f"editmod {copied} {mixed} {confidence}", {
            "guidance": "editmod", "editmod_copy": copied, "editmod_mix": mixed,
            "editmod_confidence": confidence,
        })  # fmt: skip
    for threshold in AREDIT:
        yield Method(f"aredit {threshold}", {"guidance": "aredit", "aredit_threshold": threshold})


def drawn_rows_of(bench: Bench) -> Iterator[Row]:
    """Yield the measures of every method without a mask, and of plain drawing by growth."""
    for row in drawn_rows(bench, tuple(methods()), (NONE,)):
        yield row | {"grow": ""}
    for grow in GROWN:
        settings = MaskSettings(prompt_map_grow=grow)
        chosen = [m for m in METHODS if m.name in ("plain", "editmod, target")]
        for row in drawn_rows(bench, chosen, (BOTH,), settings):
            yield row | {"grow": grow}
