"""Find a model's weights on disk and check that they exist. This module does not import torch.

The bundled model's weights are part of the package. Those of released models are downloaded and
converted once (:mod:`editinfinity.released`) into a folder with the layout below; the setting
``model_dir`` can name another folder::

    tokenizer.safetensors  transformer.safetensors  text_encoder/  conversion.json
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from editinfinity.environment import PACKAGE
from editinfinity.errors import UserError
from editinfinity.files.input_files import is_folder, read_text
from editinfinity.names import shell_command
from editinfinity.presets import PRESETS, Preset

BUNDLED = PACKAGE / "weights" / "bundled"
"""Folder of the weights that are part of the package."""

RECORD_NAME = "conversion.json"
"""File name of the record of a conversion, in the folder of the converted files."""

MAX_RECORD_BYTES = 2**24


def hub_home() -> Path:
    """Return the cache folder of the Hugging Face libraries: ``HF_HOME`` if that is set."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    folder = os.environ.get("HF_HOME") or os.path.join(cache, "huggingface")  # noqa: PTH118
    # Path.expanduser raises for a user without a home.
    return Path(os.path.expanduser(folder))  # noqa: PTH111


def default_folder(model: str) -> Path:
    """Return the folder of a model's weights that is used if ``model_dir`` is not set."""
    return BUNDLED if model == "bundled" else hub_home() / "editinfinity" / model


def model_folder(preset: Preset, model_dir: Path | None = None) -> Path:
    """Return the folder of a preset's weights; :func:`check_model` checks what is in it.

    Raises:
        UserError: there is no such folder.
    """
    folder = default_folder(preset.name) if model_dir is None else model_dir
    if is_folder(folder):
        return folder
    if model_dir is not None:
        raise UserError(
            f"model_dir: {model_dir} is not a folder; give the folder for {preset.name}"
        )
    raise UserError(
        f"model: the weights of {preset.name} are not in {folder}; run "
        f"`editinfinity weights fetch {preset.name}` once, or set model_dir to their folder"
    )


def check_model(preset: Preset, model_dir: Path | None = None) -> None:
    """Check that the files of every part of a model exist, without opening them.

    Raises:
        UserError: a part is missing; the message says how to get it.
    """
    if preset.weights is None or (preset.name == "bundled" and model_dir is None):
        return
    folder = model_folder(preset, model_dir)
    parts = (preset.weights.tokenizer, preset.weights.transformer, preset.weights.text_encoder)
    for pattern in parts:
        if pattern is not None and not any(folder.glob(pattern)):
            to = () if model_dir is None else ("--to", folder)
            weights, name = ("editinfinity", "weights"), preset.name
            fetch = shell_command(*weights, "fetch", name, *to)
            convert = shell_command(*weights, "convert", name, "--from", "THEIR_FOLDER", *to)
            raise UserError(
                f"model_dir: {folder} contains no {pattern} of {name}; run `{fetch}`, or, if you "
                f"have the released files, `{convert}`"
            )


def converted_model(folder: Path) -> str:
    """Return the name of the model whose converted weights are in a folder, from their record.

    Raises:
        UserError: there is no such folder, or its record does not name a model.
    """
    if not is_folder(folder):
        raise UserError(f"model: {folder} is not a folder; give the one of converted weights")
    record = folder / RECORD_NAME
    try:
        name = json.loads(read_text(record, MAX_RECORD_BYTES, "convert the weights again"))["model"]
    except (ValueError, KeyError, TypeError, RecursionError):
        name = None
    if not isinstance(name, str) or name not in PRESETS:
        raise UserError(f"{record}: names no model; convert the weights again")
    return name
