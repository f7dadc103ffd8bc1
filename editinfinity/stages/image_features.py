"""Stage ``image_features``: encode a photograph as bits of all scales and raw features."""

from __future__ import annotations

import logging
from pathlib import Path

from editinfinity.files.cropping import FULL, parse_region
from editinfinity.files.images import read_image, size_of
from editinfinity.files.tokenizer_weights import load_tokenizer
from editinfinity.method.encode import encode_photograph
from editinfinity.settings.groups import ModelSettings, PhotographSettings
from editinfinity.stages.host import ALONE, Host
from editinfinity.stages.loading import open_settings

log = logging.getLogger(__name__)


def extract_image_features(
    *,
    image: Path,
    output: Path,
    model: ModelSettings,
    pixel_budget: str | None = None,
    crop: str = FULL,
    host: Host = ALONE,
) -> None:
    """Encode the photograph once; later stages read the output instead of encoding it again.

    ``output`` (safetensors) contains ``bits`` (packed bits of all scales, uint8), ``raw`` (d, h, w)
    fp32, and, as metadata, the preset, ratio, pixel budget and geometry.

    Args:
        image: file of the photograph.
        output: file for the features.
        model: model and device.
        pixel_budget: a key of ``editinfinity.scales.PIXEL_BUDGETS``; None for the model's default.
        crop: ``full``, or ``top,left,height,width`` of the part to encode, in pixels.
        host: the process that runs the stage.

    Raises:
        UserError: the image cannot be read, or the model's weights are missing.
    """
    preset, device = open_settings(model)
    budget = PhotographSettings(pixel_budget).pixel_budget or preset.pixel_budget
    photograph = read_image(image)
    region = parse_region(crop, size_of(photograph))
    tokenizer = host.load(load_tokenizer, preset, device, model.model_dir)
    features = encode_photograph(photograph, region, budget, preset, tokenizer)
    features.save(output)
    schedule = features.schedule
    log.info(
        "%s: %d×%d pixels, ratio %g; the model sees it at %d×%d pixels, as %d tokens",
        image,
        photograph.width,
        photograph.height,
        schedule.ratio,
        schedule.image_size[1],
        schedule.image_size[0],
        schedule.tokens,
    )
