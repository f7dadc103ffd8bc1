"""Stage ``select``: choose the variant of a sweep that becomes the result.

Among the variants whose background PSNR reaches a minimum (in dB), the rule chooses the one that
aligns best with the prompt. Alignment is the CLIP score of the edited part if every variant has it,
else this project's own alignment metric. If no variant reaches the minimum, the rule chooses the
one with the highest background PSNR.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from editinfinity.evaluation.record import MetricResults
from editinfinity.files.atomic import write_json

log = logging.getLogger(__name__)

MEASURES: Mapping[str, int] = {"clip_edited": 2, "alignment": 3}
"""Alignment metrics in order of preference → number of decimals for the comparison.

The first metric that is known for every variant decides.
"""

PSNR_DIGITS = 2


@dataclass(frozen=True)
class Selection:
    """The selected variant of a sweep.

    Attributes:
        chosen: name of the selected variant.
        why: one-line explanation for users.
        measure: alignment metric that was compared; None if no metric is known for all variants.
        floor: minimum background PSNR, in dB.
        table: variant → compared values, in the order of the sweep.
    """

    chosen: str
    why: str
    measure: str | None
    floor: float
    table: Mapping[str, Mapping[str, float | bool | None]]

    def save(self, path: Path) -> None:
        """Write the selection as JSON, for users and for the stage ``finish``."""
        rule = f"most {self.measure or 'background PSNR'}, of background PSNR ≥ {self.floor:g} dB"
        rows = [{"variant": name, **row} for name, row in self.table.items()]
        content = {"chosen": self.chosen, "why": self.why, "rule": rule, "variants": rows}
        write_json(path, content)


def choose(measured: Mapping[str, MetricResults], floor: float) -> Selection:
    """Select the best variant.

    Values are rounded as in the tables before they are compared. Ties go to the variant with the
    higher background PSNR, then to the earlier one in the sweep. A variant without background
    counts as having infinite background PSNR.

    Args:
        measured: variant → its metrics, in the order of the sweep; at least one variant.
        floor: minimum background PSNR, in dB.
    """
    names = list(measured)
    known = [m for m in MEASURES if all(each.number(m) is not None for each in measured.values())]
    measure = known[0] if known else None
    table: dict[str, dict[str, float | bool | None]] = {}
    for name, each in measured.items():
        kept = each.number("background_psnr")
        row: dict[str, float | bool | None] = {} if measure is None else {
            measure: round(each.values[measure], MEASURES[measure])
        }  # fmt: skip
        row["background_psnr"] = None if kept is None else round(kept, PSNR_DIGITS)
        row["keeps_enough"] = kept is None or row["background_psnr"] >= floor  # type: ignore[operator]
        table[name] = row

    def kept_of(name: str) -> float:
        value = table[name]["background_psnr"]
        return float("inf") if value is None else float(value)

    def worth(name: str) -> tuple[float, float, int]:
        value = 0.0 if measure is None else float(table[name][measure] or 0)
        return value, kept_of(name), -names.index(name)

    enough = [name for name in names if table[name]["keeps_enough"]]
    if not enough:
        chosen = max(names, key=lambda name: (kept_of(name), *worth(name)))
        why = (
            f"no background keeps {floor:g} dB, so the one that keeps most, {kept_of(chosen):g} dB"
        )
        return Selection(chosen, why, measure, floor, table)
    chosen = max(enough, key=worth)
    return Selection(chosen, _why(chosen, measure, floor, table, enough), measure, floor, table)


def _why(
    chosen: str,
    measure: str | None,
    floor: float,
    table: Mapping[str, Mapping[str, Any]],
    enough: Sequence[str],
) -> str:
    kept = table[chosen]["background_psnr"]
    background = "nothing is background" if kept is None else f"background {kept:g} dB"
    among = f"of {len(enough)} variants that keep {floor:g} dB ({len(table)} in all)"
    if len(enough) == 1:
        return f"the only one of {len(table)} variants that keeps {floor:g} dB: {background}"
    if measure is None:
        return f"no alignment is known; the best background {among}: {background}"
    best = f"{measure} {table[chosen][measure]:g}, the most {among}; {background}"
    equal = [n for n in enough if table[n][measure] == table[chosen][measure] and n != chosen]
    if not equal:
        return best
    return f"{best}, the best or first of {len(equal) + 1} that are equal in {measure}"


def select_variant(*, metrics: Mapping[str, Path], output: Path, floor: float) -> None:
    """Select a variant, and write the selection with its explanation.

    Args:
        metrics: variant → output file of the stage ``metrics``, in the order of the sweep.
        output: JSON file with ``chosen``, ``why``, ``rule`` and the values of all ``variants``.
        floor: minimum background PSNR, in dB.

    Raises:
        UserError: a file cannot be read.
    """
    selection = choose({name: MetricResults.load(path) for name, path in metrics.items()}, floor)
    selection.save(output)
    log.info("%s: %s", selection.chosen, selection.why)
