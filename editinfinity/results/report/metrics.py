"""The metrics of a picture as the page shows them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from editinfinity.cases.case import Edit
from editinfinity.errors import UserError
from editinfinity.evaluation.names import METRICS
from editinfinity.evaluation.record import Measured
from editinfinity.planning.targets import Layout
from editinfinity.planning.variants import Variant
from editinfinity.results.measured import measured_of

_UNITS = {"background_psnr": "dB"}
_DIGITS = {"background_psnr": 1, "background_mse": 5, "structure_distance": 4, "clip_whole": 1,
           "clip_edited": 1, "image_reward": 2, "alignment": 2}  # fmt: skip
"""Behind the point; three for others."""


def read_metrics(
    edit: Edit, where: Layout, variant: Variant
) -> tuple[dict[str, float | None], dict[str, str]]:
    """(name → number, name → why there is none) of a variant.

    Empty where nobody measured it, or the file is damaged; None for a number that is none because
    the region it is about is empty.
    """
    try:
        measured = measured_of(edit, where, variant) or Measured()
    except UserError:
        return {}, {}
    return {name: measured.number(name) for name in measured.values}, dict(measured.missing)


def described(names: Iterable[str]) -> list[dict[str, Any]]:
    """What the page needs to know of the metrics of these names, in the order to show them."""
    wanted = set(names)
    return [
        {
            "name": name,
            "label": metric.title,
            "about": metric.meaning,
            "higher": metric.higher_is_better,
            "unit": _UNITS.get(name, ""),
            "digits": _DIGITS.get(name, 3),
        }
        for name, metric in METRICS.items()
        if name in wanted
    ]
