"""Presets → loaded tokenizers."""

from __future__ import annotations

from pathlib import Path

import torch

from editinfinity.files.loading import blank, fill, frozen, random_weights
from editinfinity.files.model_folder import model_folder
from editinfinity.files.state_dicts import find_weight_files, read_state_dict
from editinfinity.models.choice import choose_operations
from editinfinity.models.released import tokenizer_state
from editinfinity.models.tokenizer import Tokenizer
from editinfinity.presets import Preset


def load_tokenizer(
    preset: Preset, device: torch.device, model_dir: Path | None = None
) -> Tokenizer:
    """The tokenizer of a preset, fp32.

    Raises:
        UserError: its weights are missing, damaged or another model's.
    """
    operations = choose_operations(device, preset.tokenizer)
    build = lambda: Tokenizer(preset.tokenizer)  # noqa: E731
    if preset.weights is None:
        model = random_weights(build, preset)
    else:
        files = find_weight_files(
            model_folder(preset, model_dir), preset.weights.tokenizer, f"{preset.name}'s tokenizer"
        )
        model = blank(build)
        fill(model, tokenizer_state(read_state_dict(files)), device, files[0], preset)
    return frozen(model, device).use_operations(operations.result())
