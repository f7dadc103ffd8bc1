"""Settings that are chosen on edits of their own: confidence, scales, threshold and localiser."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from editinfinity.editing.prompt_region import cells_of_soft_map
from editinfinity.files.masks import grow_mask
from editinfinity.settings.groups import FOUND, MaskSettings
from training.two_prompts.drawing import Bench, Row, drawn_rows, iou
from training.two_prompts.recipes import BOTH, METHODS, NONE, Method

THRESHOLDS = (None, 0.2, 0.3, 0.4, 0.5, 0.6)
"""Shares of the map's range above which a cell is edited; None is Otsu's method."""

GROWN = (0, 1, 2, 3)
CONFIDENCES = (0.8, 0.9, 0.95, 1.0)
SCALES = ((1, 5), (2, 5), (2, 6), (2, 7), (3, 6), (3, 7))
"""First scales that EditMod copies, and copies or mixes, of the bundled model's seven."""

AREDIT = (0.05, 0.1, 0.2, 0.3)


def found_rows(bench: Bench) -> Iterator[Row]:
    """Yield the overlap with the true place for every threshold, map and filter."""
    maps = bench.maps()
    for place, threshold, follow in product(FOUND, THRESHOLDS, (True, False)):
        cells = cells_of_soft_map(
            maps.of(place), bench.photograph.pixels, threshold,
            follow_edges=follow and not maps.is_addition,
        )  # fmt: skip
        yield {
            "place": place, "threshold": "otsu" if threshold is None else threshold,
            "filter": int(follow), "iou": iou(grow_mask(cells, 0), bench.true_cells),
        }  # fmt: skip


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
