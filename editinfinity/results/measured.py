"""What was measured of the drawings that are there, as far as a run asks for it."""

from __future__ import annotations

from pathlib import Path

from editinfinity.cases.case import Edit
from editinfinity.evaluation.record import Measured
from editinfinity.planning.targets import Layout
from editinfinity.planning.variants import Variant, chosen_by_settings


def measured_of(edit: Edit, where: Layout, variant: Variant) -> Measured | None:
    """The metrics of a variant; None where the settings ask for none, or none were taken of it.

    Files stay when a picture is drawn anew without being measured (``metrics: 0``, a run that was
    stopped); they say which picture they are of.

    Raises:
        UserError: the file is damaged.
    """
    if not (edit.settings["metrics"] or chosen_by_settings(edit.settings) is None):
        return None
    path = Path(where.metrics(edit.name, variant))
    if not path.exists():
        return None
    measured = Measured.load(path)
    return measured if measured.is_of(Path(where.picture(edit.name, variant))) else None
