"""Stage ``finish``: put the edited image back at the size of the user's photograph."""

from __future__ import annotations

import logging
from pathlib import Path

from editinfinity.errors import UserError
from editinfinity.files.images import read_image, read_settings, restore, write_png
from editinfinity.scales import nearest_ratio

log = logging.getLogger(__name__)


def finish(*, edited: Path, image: Path, output: Path) -> None:
    """Scale the edit back into the photograph and write it at the photograph's size (PNG).

    Borders that the model's aspect ratio cut off keep the photograph's own pixels.

    Args:
        edited: of ``edit``.
        image: the user's photograph.
        output: where the finished picture goes.

    Raises:
        UserError: a picture cannot be read, or they are of different shapes.
    """
    photograph, drawn = read_image(image), read_image(edited)
    shapes = {nearest_ratio(picture.height, picture.width) for picture in (photograph, drawn)}
    if len(shapes) > 1:
        raise UserError(
            f"{edited}: is {drawn.width}×{drawn.height}, not of the shape of {image}, which is "
            f"{photograph.width}×{photograph.height}; edit that photograph again"
        )
    write_png(output, restore(drawn, photograph), read_settings(edited))
    log.info("%s: %d×%d pixels", output, photograph.width, photograph.height)
