"""Stage ``select``: which variant of a sweep becomes the result, by a rule told in two lines.

Of the variants whose background keeps so many decibels (PSNR), the one most aligned with the
prompt: by CLIP of the edited part where every variant has it, else by this project's own alignment.
Where none keeps as much, the one that keeps most.
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
"""What may decide, the first that every variant has; and to how many digits it is compared."""

PSNR_DIGITS = 2


@dataclass(frozen=True)
class Selection:
    """A choice among variants.

    Attributes:
        chosen: name of the variant.
        why: one line for people.
        measure: metric that decided; None where none is known.
        floor: least PSNR of the background.
        table: variant → what was compared, in the order of the sweep.
    """

    chosen: str
    why: str
    measure: str | None
    floor: float
    table: Mapping[str, Mapping[str, float | bool | None]]

    def save(self, path: Path) -> None:
        """Write it, for people and for ``finish``."""
        rule = f"most {self.measure or 'background PSNR'}, of background PSNR ≥ {self.floor:g} dB"
        rows = [{"variant": name, **row} for name, row in self.table.items()]
        content = {"chosen": self.chosen, "why": self.why, "rule": rule, "variants": rows}
        write_json(path, content)


def choose(measured: Mapping[str, MetricResults], floor: float) -> Selection:
    """The best of some variants.

    Numbers are compared as tables round them; equals go to the better background, then to the
    earlier of the sweep. A background that is empty keeps all there is to keep.

    Args:
        measured: variant → its metrics, in the order of the sweep; at least one.
        floor: least PSNR of the background.
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
    """Choose, and write what was chosen and why.

    Args:
        metrics: variant → file of ``metrics``, in the order of the sweep.
        output: JSON with ``chosen``, ``why``, ``rule`` and the numbers of all ``variants``.
        floor: least PSNR of the background.

    Raises:
        UserError: a file cannot be read.
    """
    selection = choose({name: MetricResults.load(path) for name, path in metrics.items()}, floor)
    selection.save(output)
    log.info("%s: %s", selection.chosen, selection.why)
