"""Common first steps of the stages that run a model: select the device, load features."""

from __future__ import annotations

from pathlib import Path

import torch

from editinfinity.compute import pick_device, set_threads
from editinfinity.files.features import ImageFeatures, PromptFeatures, require_preset
from editinfinity.files.transformer_weights import load_transformer
from editinfinity.method.memory import for_sampling, for_training, stays_in_ram
from editinfinity.models.transformer import Infinity
from editinfinity.presets import Preset, preset
from editinfinity.scales import ScaleSchedule
from editinfinity.settings.groups import ModelSettings
from editinfinity.stages.host import Host


def open_settings(model: ModelSettings) -> tuple[Preset, torch.device]:
    """Return preset and device for the settings; also set torch's threads and current device.

    Raises:
        UserError: the preset or the device does not exist.
    """
    chosen, device = preset(model.model), pick_device(model.device)
    set_threads(model.threads)
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)  # Triton ignores the tensors' device
    return chosen, device


def open_features(
    image_features: Path, text_features: Path, preset: Preset
) -> tuple[ImageFeatures, PromptFeatures]:
    """Load the features of a photograph and of a prompt.

    Raises:
        UserError: a file is missing or damaged, or was made by another model.
    """
    photograph, prompt = ImageFeatures.load(image_features), PromptFeatures.load(text_features)
    for path, name in ((image_features, photograph.preset), (text_features, prompt.preset)):
        require_preset(name, preset.name, path)
    return photograph, prompt


def transformer_for_sampling(host: Host, model: ModelSettings, scales: ScaleSchedule) -> Infinity:
    """Load the transformer and return it ready to sample on the device of the settings.

    Raises:
        UserError: its weights are missing or damaged.
    """
    return for_sampling(_load(host, model), pick_device(model.device), scales)


def transformer_for_training(
    host: Host, model: ModelSettings, scales: ScaleSchedule, batch: int
) -> Infinity:
    """Load the transformer and return it ready to train with ``batch`` samples at a time.

    Raises:
        UserError: its weights are missing or damaged.
    """
    return for_training(_load(host, model), pick_device(model.device), batch * scales.tokens)


def _load(host: Host, model: ModelSettings) -> Infinity:
    chosen, device = preset(model.model), pick_device(model.device)
    in_ram = stays_in_ram(model.memory, chosen, device)
    return host.load(
        load_transformer, chosen, device, model.model_dir, model.attention_bias, in_ram
    )
