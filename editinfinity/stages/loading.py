"""What stages that run a model do first: pick the device, open features."""

from __future__ import annotations

from pathlib import Path

import torch

from editinfinity.compute import pick_device, set_threads
from editinfinity.files.features import ImageFeatures, PromptFeatures, require_preset
from editinfinity.presets import Preset, preset
from editinfinity.settings.groups import ModelSettings


def open_settings(model: ModelSettings) -> tuple[Preset, torch.device]:
    """The preset and device of the settings; sets torch's threads and current device.

    Raises:
        UserError: there is no such preset or device.
    """
    chosen, device = preset(model.model), pick_device(model.device)
    set_threads(model.threads)
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)  # where kernels run, wherever their tensors lie
    return chosen, device


def open_features(
    image_features: Path, text_features: Path, preset: Preset
) -> tuple[ImageFeatures, PromptFeatures]:
    """A photograph and a prompt, both as a model knows them.

    Raises:
        UserError: a file is missing, damaged, or another model's.
    """
    photograph, prompt = ImageFeatures.load(image_features), PromptFeatures.load(text_features)
    for path, found in ((image_features, photograph.preset), (text_features, prompt.preset)):
        require_preset(found, preset.name, path)
    return photograph, prompt
