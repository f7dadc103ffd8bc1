"""What was measured of the drawings that are there, as far as a run asks for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from editinfinity.cases.case import Edit
from editinfinity.errors import UserError
from editinfinity.evaluation.record import Measured
from editinfinity.planning.targets import Layout
from editinfinity.planning.variants import Variant, chosen_by_settings


def measured_of(
    edit: Edit, where: Layout, variant: Variant, warn: Callable[[UserError], object] | None = None
) -> Measured | None:
    """The metrics of a variant; None where the settings ask for none, or none were taken of it.

    Files stay when a picture is drawn anew without being measured (``metrics: 0``, a run that was
    stopped); they say which picture they are of. One that is damaged counts as none; ``warn`` is
    told of it.
    """
    path = Path(where.metrics(edit.name, variant))
    try:
        asked_for = edit.settings["metrics"] or chosen_by_settings(edit.settings) is None
        measured = Measured.load(path) if asked_for and path.exists() else None
    except UserError as fault:
        if warn is not None:
            warn(fault)
        return None
    picture = Path(where.picture(edit.name, variant))
    return measured if measured is not None and measured.is_of(picture) else None
