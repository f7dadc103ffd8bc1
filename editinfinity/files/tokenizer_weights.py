"""Load the image tokenizer of a preset."""

from __future__ import annotations

from pathlib import Path

import torch

from editinfinity.files.loading import freeze, load_model
from editinfinity.models.dispatch import choose_operations
from editinfinity.models.released import tokenizer_state
from editinfinity.models.tokenizer import Tokenizer
from editinfinity.presets import Preset


def load_tokenizer(
    preset: Preset, device: torch.device, model_dir: Path | None = None
) -> Tokenizer:
    """Load the tokenizer of a preset, in fp32.

    Raises:
        UserError: its weights are missing, damaged or belong to another model.
    """
    operations = choose_operations(device, preset.tokenizer)
    model = load_model(
        lambda: Tokenizer(preset.tokenizer), preset, "tokenizer", tokenizer_state, device, model_dir
    )
    return freeze(model, device).use_operations(operations.result())
