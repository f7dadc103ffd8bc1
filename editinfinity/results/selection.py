"""Which variant of an edit becomes the result, and what was measured of each that is there."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from editinfinity.cases.case import Edit
from editinfinity.errors import UserError
from editinfinity.evaluation.record import MetricResults
from editinfinity.planning.targets import Layout
from editinfinity.planning.variants import Variant, chosen_by_settings, variants


def read_selection(path: Path, drawn: Sequence[Variant]) -> Variant:
    """The variant that a selection names.

    Raises:
        UserError: the file is missing, or names none of those drawn.
    """
    try:
        name = json.loads(path.read_text(encoding="utf-8"))["chosen"]
        return next(variant for variant in drawn if variant.name == name)
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        raise UserError(f"{path}: is no selection of this edit; delete it and run again") from None


def chosen_variant(edit: Edit, where: Layout) -> Variant | None:
    """The variant that became the result; None where that is not known yet."""
    with suppress(UserError):
        return chosen_by_settings(edit.settings) or read_selection(
            Path(where.selection(edit.name)), variants(edit.settings)
        )
    return None


def metric_results_of(
    edit: Edit, where: Layout, variant: Variant, warn: Callable[[UserError], object] | None = None
) -> MetricResults | None:
    """The metrics of a variant; None where the settings ask for none, or none were taken of it.

    Files stay when a picture is drawn anew without being measured (``metrics: 0``, a run that was
    stopped); they say which picture they are of. One that is damaged counts as none; ``warn`` is
    told of it.
    """
    path = Path(where.metrics(edit.name, variant))
    try:
        asked_for = edit.settings["metrics"] or chosen_by_settings(edit.settings) is None
        measured = MetricResults.load(path) if asked_for and path.exists() else None
    except UserError as fault:
        if warn is not None:
            warn(fault)
        return None
    picture = Path(where.picture(edit.name, variant))
    return measured if measured is not None and measured.is_of(picture) else None
