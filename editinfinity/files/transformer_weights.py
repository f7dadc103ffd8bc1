"""Load the transformer of a preset."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from editinfinity.compute import block_dtype
from editinfinity.files.loading import freeze, load_model
from editinfinity.models.dispatch import choose_operations
from editinfinity.models.released import transformer_state
from editinfinity.models.transformer import Infinity
from editinfinity.presets import Preset


def load_transformer(
    preset: Preset,
    device: torch.device,
    model_dir: Path | None = None,
    attention_bias: bool = True,
) -> Infinity:
    """Load the transformer of a preset.

    Args:
        preset: the preset.
        device: the device for the weights; determines their precision.
        model_dir: folder of released weights; None for the default one.
        attention_bias: False drops the trained q and v biases, as upstream does.

    Raises:
        UserError: its weights are missing, damaged or belong to another model.
    """
    config = replace(preset.transformer, attention_bias=attention_bias)
    dtype = block_dtype(device)
    operations = choose_operations(device, config, dtype)  # prepared while the weights are loaded
    model = load_model(
        lambda: Infinity(config).set_block_dtype(dtype),
        preset,
        "transformer",
        lambda state: transformer_state(state, config),
        device,
        model_dir,
    )
    if not attention_bias:
        model.zero_attention_bias()
    return freeze(model, device).use_operations(operations.result())
