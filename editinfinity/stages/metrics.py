"""Stage ``metrics``: how good an edit is, in numbers beside its picture."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from editinfinity.errors import UserError
from editinfinity.evaluation.canvas import Mask, canvas_size, mask_on_canvas, on_canvas
from editinfinity.evaluation.loading import load_scorer
from editinfinity.evaluation.record import content_of
from editinfinity.evaluation.scorer import Edited
from editinfinity.files.colour import to_srgb
from editinfinity.files.geometry import Geometry
from editinfinity.files.images import read_image
from editinfinity.files.writing import read_settings
from editinfinity.settings.groups import ModelSettings
from editinfinity.stages.host import ALONE, Host
from editinfinity.stages.loading import open_settings
from editinfinity.stages.region import find_region

log = logging.getLogger(__name__)


def measure_edit(
    *,
    picture: Path,
    image: Path,
    output: Path,
    model: ModelSettings,
    mask: Path | None = None,
    attention: Path | None = None,
    lpips: Path | None = None,
    clip: Path | None = None,
    dino: Path | None = None,
    image_reward: Path | None = None,
    drawn_with: str = "",
    host: Host = ALONE,
    **settings: Any,
) -> None:
    """Measure what the model drew against the part of the photograph that it saw.

    Both come to one canvas of 512² (or of the picture's shape at that area) by Lanczos. What is
    measured is the drawing itself, before it is put back into the photograph: there the background
    is exact anyway.

    Args:
        picture: of ``edit``, whose settings say what it shows and of which part.
        image: the user's photograph.
        output: JSON with ``values`` and ``missing``.
        model: device and threads.
        mask: the user's mask, where there is one.
        attention: of ``collect_attention``, where the edit went by it instead.
        lpips, clip, dino, image_reward: folders of weights; None leaves a metric out, and says so.
        drawn_with: identity of the settings that drew it, to be kept with the numbers.
        host: the process this runs in.
        settings: of ``MaskSettings``, by name.

    Raises:
        UserError: a file cannot be read, or they do not belong together.
    """
    _, device = open_settings(model)
    made_by, geometry = _facts(picture)
    photograph, drawn = read_image(image), read_image(picture)
    if (photograph.height, photograph.width) != geometry.image_size:
        raise UserError(f"{picture}: is no edit of {image}, whose size is another; edit it again")
    size = canvas_size(drawn.height, drawn.width)
    seen = Image.fromarray(on_canvas(photograph, size, geometry.box))
    source = on_canvas(to_srgb(seen, photograph.info.get("icc_profile")), size)
    edited: Mask | None = None
    if mask is not None or attention is not None:
        found, _ = find_region(
            geometry,
            mask=mask,
            photograph=image,
            attention=attention,
            **settings,
        )
        edited = found.edited
    folders = {"lpips": lpips, "clip": clip, "dino": dino, "image_reward": image_reward}
    scorer = load_scorer(folders, device, str(made_by.get("model")), host.load)
    region = None if edited is None else mask_on_canvas(edited, size)
    prompt = str(made_by.get("prompt", ""))
    with torch.inference_mode():
        measured = scorer.measure(Edited(source, on_canvas(drawn, size), region, prompt))
    replace(measured, picture=content_of(picture), drawn_with=drawn_with).save(output)
    log.info("%s: %s", output, {name: round(v, 4) for name, v in measured.values.items()})


def _facts(picture: Path) -> tuple[dict[str, object], Geometry]:
    """What made a drawing, and which part of the photograph it is of."""
    try:
        made_by = json.loads(read_settings(picture) or "{}")
        return made_by, Geometry.from_dict(made_by["geometry"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(
            f"{picture}: does not say how it was made; give a picture of the stage edit"
        ) from None
