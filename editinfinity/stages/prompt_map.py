"""Stage ``prompt_map``: soft maps of the place of an edit, from the two prompts alone."""

from __future__ import annotations

import logging
from pathlib import Path

from editinfinity.files.features import PromptFeatures, require_preset
from editinfinity.method.prompt_map import prompt_maps
from editinfinity.settings.groups import ModelSettings
from editinfinity.stages.host import ALONE, Host
from editinfinity.stages.loading import (
    open_features,
    open_settings,
    transformer_for_sampling,
)

log = logging.getLogger(__name__)


def find_place(
    *,
    image_features: Path,
    source_features: Path,
    target_features: Path,
    output: Path,
    model: ModelSettings,
    host: Host = ALONE,
) -> None:
    """Find where the source and the edit prompt disagree about a photograph.

    Runs the transformer once on the photograph's own codes with both prompts, without learned
    vectors and LoRA.

    Args:
        image_features: output of ``extract_image_features``.
        source_features: features of the source prompt, without the caption suffix.
        target_features: features of the edit prompt, likewise.
        output: safetensors file with ``bits`` and, if a word has changed, ``words``, each (h, w)
            fp32 on ``schedule.reference_grid`` (``editinfinity.files.maps.PromptMaps``).
        model: model and device; the preset must be that of the features.
        host: the process that runs the stage.

    Raises:
        UserError: the source prompt is empty, or both prompts are equal.
    """
    preset, _ = open_settings(model)
    photograph, source = open_features(image_features, source_features, preset)
    target = PromptFeatures.load(target_features)
    require_preset(target.preset, preset.name, target_features)
    transformer = transformer_for_sampling(host, model, photograph.schedule)
    maps = prompt_maps(transformer, photograph, source, target)
    maps.save(output, preset.name)
    log.info("%s: gone: %s; new: %s", output, " ".join(maps.gone), " ".join(maps.new))
