"""Load the transformer of a preset."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from editinfinity.compute import block_dtype
from editinfinity.files.loading import freeze, load_model
from editinfinity.models.dispatch import choose_operations
from editinfinity.models.placement import rest_in_ram
from editinfinity.models.released import transformer_state
from editinfinity.models.transformer import Infinity
from editinfinity.presets import Preset


def load_transformer(
    preset: Preset,
    device: torch.device,
    model_dir: Path | None = None,
    attention_bias: bool = True,
    in_ram: bool = False,
) -> Infinity:
    """Load the transformer of a preset.

    Args:
        preset: the preset.
        device: the device for the weights; determines their precision.
        model_dir: folder of released weights; None for the default one.
        attention_bias: False drops the trained q and v biases, as upstream does.
        in_ram: whether the weights rest in RAM instead of on the device, see
            :func:`editinfinity.models.placement.on_device`.

    Raises:
        UserError: its weights are missing, damaged or belong to another model.
    """
    config = replace(preset.transformer, attention_bias=attention_bias)
    dtype = block_dtype(device)
    resting = torch.device("cpu") if in_ram else device
    operations = choose_operations(device, config, dtype)  # prepared while the weights are loaded
    model = load_model(
        lambda: Infinity(config).set_block_dtype(dtype),
        preset,
        "transformer",
        lambda state: transformer_state(state, config),
        resting,
        model_dir,
    )
    if not attention_bias:
        model.zero_attention_bias()
    model = freeze(model, resting).use_operations(operations.result())
    return rest_in_ram(model) if in_ram else model
