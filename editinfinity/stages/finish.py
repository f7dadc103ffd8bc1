"""Stage ``finish``: paste the edited image into the user's photograph."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from PIL import Image

from editinfinity.errors import UserError
from editinfinity.files.geometry import Geometry
from editinfinity.files.images import read_image, size_of
from editinfinity.files.maps import KERNEL, load_map
from editinfinity.files.photograph import Photograph, read_photograph
from editinfinity.files.provenance import Provenance
from editinfinity.files.writing import read_settings, write_photograph
from editinfinity.method.composite import Compositor
from editinfinity.scales import nearest_ratio, reference_grid
from editinfinity.settings.groups import FinishSettings

log = logging.getLogger(__name__)


def finish(
    *,
    edited: Path,
    image: Path,
    output: Path,
    kernel: Path | None = None,
    rendering: Path | None = None,
    made_by: Provenance | None = None,
    **settings: Any,
) -> None:
    """Paste the edited image into the photograph, at full size and with the photograph's metadata.

    Pixels outside the model's crop are kept from the photograph, and with ``background: exact`` or
    ``detail`` also those outside the blend mask's reach, each with a soft seam. ``detail`` also
    puts the photograph's detail back wherever else the edit shows the same.

    Args:
        edited: output of ``edit``.
        image: file of the user's photograph.
        output: file for the finished picture; its extension determines the format.
        kernel: the edit's blend mask (output of ``make_kernel``), if it used one.
        rendering: output of ``render_photograph``, which ``background: detail`` needs.
        made_by: what made the picture, to store in it; None stores what is known from
            ``edited`` alone.
        settings: fields of ``FinishSettings``, by name.

    Raises:
        UserError: a picture cannot be read, the pictures do not belong together, or there is no
            rendering where one is needed.
    """
    finishing = FinishSettings(**settings)
    photograph, generated = read_photograph(image), read_image(edited)
    for warning in photograph.warnings:
        log.warning("%s", warning)
    embedded = read_settings(edited)
    geometry = _geometry(embedded, photograph, size_of(generated), edited, image)
    blend_mask = None
    if kernel is not None:
        blend_mask, _ = load_map(kernel, KERNEL, reference_grid(geometry.model_size))
    known = _rendering(rendering, geometry) if finishing.background == "detail" else None
    compositor = Compositor(photograph, geometry, blend_mask, finishing, known)
    finished = compositor.paste(generated)
    told = _with_background(embedded, finishing.background)
    if made_by is not None:
        told = made_by.to_json()
    write_photograph(output, finished, told if finishing.provenance else None)
    log.info("%s: %d×%d pixels", output, *reversed(photograph.size))


def _rendering(path: Path | None, geometry: Geometry) -> Image.Image:
    """Load the tokenizer's rendering of the photograph.

    Raises:
        UserError: there is none, or it is of another photograph.
    """
    if path is None:
        raise UserError(
            "background: detail needs the output of the stage rendering: add --rendering "
            "RENDERING.png, or --background exact"
        )
    rendering = read_image(path)
    if size_of(rendering) != geometry.model_size:
        raise UserError(
            f"{path}: is {rendering.width}×{rendering.height} pixels but the edited image "
            f"{geometry.model_size[1]}×{geometry.model_size[0]}; render the same photograph"
        )
    return rendering


def _geometry(
    embedded: str | None,
    photograph: Photograph,
    generated: tuple[int, int],
    edited: Path,
    image: Path,
) -> Geometry:
    """Return the position of the edited image in the photograph.

    The settings embedded in the edited image contain it. If there are none, or if they are for the
    whole of a photograph of another size, the edited image is fitted to the whole photograph; both
    must have the same nearest aspect ratio of the model. An edit of a crop is refused then.

    Args:
        embedded: settings embedded in the edited image, as JSON; None if there are none.
        photograph: the user's photograph.
        generated: (height, width) of the edited image.
        edited, image: paths of both, for messages.

    Raises:
        UserError: the edited image is not of this photograph.
    """
    try:
        geometry = Geometry.from_dict(json.loads(embedded or "{}")["geometry"])
    except (ValueError, KeyError, TypeError):
        geometry = None
    if geometry is not None and geometry.image_size == photograph.size:
        # The aspect ratios of both may differ, because the edit may be of a crop.
        fits = geometry.model_size == generated
    else:
        # The position of a crop means nothing in a photograph of another size.
        may_be_whole = geometry is None or geometry == Geometry.fit(
            geometry.image_size, geometry.model_size
        )
        geometry = Geometry.fit(photograph.size, generated)
        fits = may_be_whole and nearest_ratio(*photograph.size) == nearest_ratio(*generated)
    if not fits:
        raise UserError(
            f"{edited}: {generated[1]}×{generated[0]} pixels do not fit the shape of {image} "
            f"({photograph.size[1]}×{photograph.size[0]}); edit that photograph again"
        )
    return geometry


def _with_background(embedded: str | None, background: str) -> str | None:
    """Add the setting ``background``, which only this stage uses, to embedded settings (JSON).

    Settings that are not a JSON object, or None, are returned unchanged.
    """
    try:
        settings = json.loads(embedded or "null")
    except ValueError:
        return embedded
    if not isinstance(settings, dict):
        return embedded
    return json.dumps({**settings, "background": background}, sort_keys=True, ensure_ascii=False)
