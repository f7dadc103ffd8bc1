"""Reads which variant of an edit was chosen as the result, and the metrics of each variant."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from editinfinity.cases.case import Edit
from editinfinity.errors import UserError
from editinfinity.evaluation.record import MetricResults
from editinfinity.planning.targets import Layout
from editinfinity.planning.variants import Variant, chosen_by_settings, variants_of


def read_selection(path: Path, variants: Sequence[Variant]) -> Variant:
    """Return the variant that a selection file names.

    Raises:
        UserError: the file is missing or invalid, or names none of ``variants``.
    """
    try:
        name = json.loads(path.read_text(encoding="utf-8"))["chosen"]
        return next(variant for variant in variants if variant.name == name)
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        raise UserError(f"{path}: names no variant of this edit; delete it and rerun") from None


def chosen_variant(edit: Edit, where: Layout) -> Variant | None:
    """Return the variant that was chosen as the result; None if it is not known yet."""
    with suppress(UserError):
        return chosen_by_settings(edit.settings) or read_selection(
            Path(where.selection(edit.name)), variants_of(edit.settings)
        )
    return None


def metric_results_of(
    edit: Edit, where: Layout, variant: Variant, warn: Callable[[UserError], object] | None = None
) -> MetricResults | None:
    """Return the metrics of a variant.

    A metrics file stays when its picture is generated again without being measured (``metrics: 0``,
    or a run that was stopped). The file records which picture it describes, and is ignored if the
    picture has changed. ``warn`` is called with the error if the file is damaged.

    Returns:
        The metrics; None if the settings request none, or if there is no valid file.
    """
    path = Path(where.metrics(edit.name, variant))
    try:
        requested = edit.settings["metrics"] or chosen_by_settings(edit.settings) is None
        metrics = MetricResults.load(path) if requested and path.exists() else None
    except UserError as error:
        if warn is not None:
            warn(error)
        return None
    picture = Path(where.picture(edit.name, variant))
    return metrics if metrics is not None and metrics.describes(picture) else None
