"""Which variant of an edit becomes the result: what settings and selections say of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from editinfinity.cases.case import Edit
from editinfinity.errors import UserError
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
    try:
        settled = chosen_by_settings(edit.settings)
        if settled is None:
            settled = read_selection(Path(where.selection(edit.name)), variants(edit.settings))
        return settled
    except UserError:
        return None
