"""Stage ``finish``: put the edited image back at the size of the user's photograph."""

from __future__ import annotations

from pathlib import Path


def finish(*, edited: Path, image: Path, output: Path) -> None:
    """Scale the edit back into the photograph and write it at the photograph's size (PNG).

    Borders that the model's aspect ratio cut off keep the photograph's own pixels.

    Args:
        edited: of ``edit``.
        image: the user's photograph.
        output: where the finished picture goes.

    Raises:
        UserError: a picture cannot be read.
    """
    raise NotImplementedError
