"""Stage ``metrics``: compute quality metrics of an edit."""

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
from editinfinity.evaluation.record import picture_digest
from editinfinity.evaluation.scorer import EditedPicture
from editinfinity.files.colour import to_srgb
from editinfinity.files.geometry import Geometry
from editinfinity.files.images import model_pixels, read_image, to_model
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
    blend: Path | None = None,
    prompt_map: Path | None = None,
    find_mask: str | None = None,
    lpips: Path | None = None,
    clip: Path | None = None,
    dino: Path | None = None,
    image_reward: Path | None = None,
    drawn_with: str = "",
    host: Host = ALONE,
    **settings: Any,
) -> None:
    """Compare the picture of an edit with the model's crop of the photograph.

    Both are resampled with Lanczos to one canvas of 512² pixels (or of the picture's shape at that
    area). The metrics are computed for the picture before it is pasted into the photograph, because
    afterwards the background equals the photograph anyway.

    Args:
        picture: output of ``edit``; its embedded settings provide the prompt and the crop.
        image: file of the user's photograph.
        output: JSON file with ``values`` and ``missing``.
        model: device and threads.
        mask: file of the user's mask, if the edit used one.
        attention: output of ``collect_attention``, if the edit used that instead.
        blend: file of the user's own blend mask, if the edit used that; cells below 0.5 count as
            edited.
        prompt_map: output of ``find_place``, if the edit used that.
        find_mask: which of its maps the edit used.
        lpips, clip, dino, image_reward: folders of weights; with None, the metric is omitted and
            listed in ``missing``.
        drawn_with: identity of the settings that produced the picture, stored with the metrics.
        host: the process that runs the stage.
        settings: fields of ``MaskSettings``, by name.

    Raises:
        UserError: a file cannot be read, or the files do not belong together.
    """
    _, device = open_settings(model)
    provenance, geometry = _provenance(picture)
    photograph, generated = read_image(image), read_image(picture)
    if (photograph.height, photograph.width) != geometry.image_size:
        raise UserError(f"{picture}: is not an edit of {image}, whose size differs; edit it again")
    size = canvas_size(generated.height, generated.width)
    crop = Image.fromarray(on_canvas(photograph, size, geometry.box))
    source = on_canvas(to_srgb(crop, photograph.info.get("icc_profile")), size)
    edited: Mask | None = None
    if any(file is not None for file in (mask, attention, blend, prompt_map)):
        region, _ = find_region(
            geometry,
            mask=mask,
            photograph=image,
            attention=attention,
            blend=blend,
            prompt_map=prompt_map,
            find_mask=find_mask,
            pixels=lambda: model_pixels(to_model(photograph, geometry)),
            **settings,
        )
        edited = region.edited
    folders = {"lpips": lpips, "clip": clip, "dino": dino, "image_reward": image_reward}
    scorer = load_scorer(folders, device, str(provenance.get("model")), host.load)
    canvas_mask = None if edited is None else mask_on_canvas(edited, size)
    prompt = str(provenance.get("prompt", ""))
    with torch.inference_mode():
        picture_on_canvas = on_canvas(generated, size)
        measured = scorer.measure(EditedPicture(source, picture_on_canvas, canvas_mask, prompt))
    replace(measured, picture=picture_digest(picture), drawn_with=drawn_with).save(output)
    log.info("%s: %s", output, {name: round(v, 4) for name, v in measured.values.items()})


def _provenance(picture: Path) -> tuple[dict[str, object], Geometry]:
    """Return the embedded settings of an edited picture, and its geometry in the photograph."""
    try:
        provenance = json.loads(read_settings(picture) or "{}")
        return provenance, Geometry.from_dict(provenance["geometry"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(
            f"{picture}: has no settings of an edit; give a picture that the stage edit wrote"
        ) from None
