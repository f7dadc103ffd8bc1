"""Stage ``rendering``: decode a photograph's own code, to know which detail the tokenizer loses."""

from __future__ import annotations

import logging
from pathlib import Path

from editinfinity.files.features import ImageFeatures, require_preset
from editinfinity.files.images import write_png
from editinfinity.files.tokenizer_weights import load_tokenizer
from editinfinity.method.rendering import render
from editinfinity.settings.groups import ModelSettings
from editinfinity.stages.host import ALONE, Host
from editinfinity.stages.loading import open_settings

log = logging.getLogger(__name__)


def render_photograph(
    *, image_features: Path, output: Path, model: ModelSettings, host: Host = ALONE
) -> None:
    """Write the tokenizer's rendering of a photograph, for ``finish`` with ``background: detail``.

    Args:
        image_features: output of ``extract_image_features``.
        output: PNG at the model's resolution.
        model: model and device; the preset must be that of the features.
        host: the process that runs the stage.

    Raises:
        UserError: the features are missing or of another model, or the model's weights are missing.
    """
    preset, device = open_settings(model)
    photograph = ImageFeatures.load(image_features)
    require_preset(photograph.preset, preset.name, image_features)
    picture = render(host.load(load_tokenizer, preset, device, model.model_dir), photograph)
    write_png(output, picture)
    log.info("%s: %d×%d pixels, the photograph as the tokenizer shows it", output, *picture.size)
