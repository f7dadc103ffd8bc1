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
        rule = f"best {self.measure or 'background PSNR'} with background PSNR ≥ {self.floor:g} dB"
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
    known = [m for m in MEASURES if all(r.number(m) is not None for r in measured.values())]
    measure = known[0] if known else None
    table: dict[str, dict[str, float | bool | None]] = {}
    for name, results in measured.items():
        kept = results.number("background_psnr")
        row: dict[str, float | bool | None] = {} if measure is None else {
            measure: round(results.values[measure], MEASURES[measure])
        }  # fmt: skip
        row["background_psnr"] = None if kept is None else round(kept, PSNR_DIGITS)
        row["keeps_enough"] = kept is None or row["background_psnr"] >= floor  # type: ignore[operator]
        table[name] = row

    def psnr(name: str) -> float:
        value = table[name]["background_psnr"]
        return float("inf") if value is None else float(value)

    def rank(name: str) -> tuple[float, float, int]:
        value = 0.0 if measure is None else float(table[name][measure] or 0)
        return value, psnr(name), -names.index(name)

    eligible = [name for name in names if table[name]["keeps_enough"]]
    if not eligible:
        chosen = max(names, key=lambda name: (psnr(name), *rank(name)))
        why = (
            f"no variant has a background PSNR of {floor:g} dB; the highest is {psnr(chosen):g} dB"
        )
        return Selection(chosen, why, measure, floor, table)
    chosen = max(eligible, key=rank)
    return Selection(chosen, _why(chosen, measure, floor, table, eligible), measure, floor, table)


def _why(
    chosen: str,
    measure: str | None,
    floor: float,
    table: Mapping[str, Mapping[str, Any]],
    eligible: Sequence[str],
) -> str:
    kept = table[chosen]["background_psnr"]
    background = "nothing is background" if kept is None else f"background {kept:g} dB"
    among = f"of {len(eligible)} variants that reach {floor:g} dB ({len(table)} in total)"
    if len(eligible) == 1:
        return f"the only one of {len(table)} variants that reaches {floor:g} dB: {background}"
    if measure is None:
        return f"no alignment is known; the best background {among}: {background}"
    best = f"{measure} {table[chosen][measure]:g}, the highest {among}; {background}"
    equal = [n for n in eligible if table[n][measure] == table[chosen][measure] and n != chosen]
    if not equal:
        return best
    return f"{best}, the best or first of {len(equal) + 1} variants with equal {measure}"


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
