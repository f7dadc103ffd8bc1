"""Load weights into a model, or initialise a model at random for tests."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import init
from torch.overrides import TorchFunctionMode

from editinfinity.compute import reseed
from editinfinity.errors import UserError
from editinfinity.files.model_folder import model_folder
from editinfinity.files.state_dicts import find_weight_files, read_state_dict
from editinfinity.presets import Preset

log = logging.getLogger(__name__)

Model = TypeVar("Model", bound=nn.Module)


def load_model(
    build: Callable[[], Model],
    preset: Preset,
    part: str,
    rename_keys: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]],
    device: torch.device,
    model_dir: Path | None,
) -> Model:
    """Build a part of a preset and load its weights, or random ones if the preset has none.

    Args:
        build: creates the model with its own initial weights.
        preset: the preset that the part belongs to.
        part: ``tokenizer`` or ``transformer``.
        rename_keys: converts the state dict of a released file to this project's tensor names.
        device: the device for the weights.
        model_dir: folder of released weights; None for the default one.

    Raises:
        UserError: the weights are missing, damaged or belong to another model.
    """
    if preset.weights is None:
        return _random_weights(build, preset)
    folder, pattern = model_folder(preset, model_dir), getattr(preset.weights, part)
    files = find_weight_files(folder, pattern, f"{preset.name}'s {part}")
    model = build_on_meta(build)
    _load_weights(model, rename_keys(read_state_dict(files)), device, files[0], preset)
    return model


def _random_weights(build: Callable[[], Model], preset: Preset) -> Model:
    """Build a model with random initial weights, always the same ones."""
    with torch.random.fork_rng(devices=[]):
        reseed(0, f"weights of {preset.name}", 0)
        return build()


_INITIALISERS = frozenset(
    (Tensor.normal_, Tensor.uniform_, init.normal_, init.uniform_, init.kaiming_uniform_)
)


class _SkipInitialisation(TorchFunctionMode):
    """Skip the random initialisation of layers.

    On the meta device, initialisation has no effect, but it spends seconds on loading further
    parts of PyTorch.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        keywords = kwargs or {}
        if func in _INITIALISERS:
            return args[0] if args else keywords["tensor"]
        return func(*args, **keywords)


def build_on_meta(build: Callable[[], Model]) -> Model:
    """Build a model on the meta device: it has shapes but no memory, and is filled later."""
    with torch.device("meta"), _SkipInitialisation():
        return build()


def _load_weights(
    model: nn.Module, state: Mapping[str, Tensor], device: torch.device, path: Path, preset: Preset
) -> None:
    """Load weights into a model on the meta device, one tensor in memory at a time.

    Raises:
        UserError: names or shapes do not match the model, or a number is not finite.
    """
    needed = model.state_dict()
    missing, unexpected = sorted(needed.keys() - state.keys()), sorted(state.keys() - needed.keys())
    if missing or unexpected:
        differences = [
            f"{len(keys)} {adjective} tensors such as {keys[0]}"
            for adjective, keys in (("missing", missing), ("unknown", unexpected))
            if keys
        ]
        raise UserError(f"{path}: is not {preset.name} ({', '.join(differences)}); check the file")
    loaded, finite = {}, []
    for name, target in needed.items():
        tensor = state[name]
        if tensor.shape != target.shape:
            shapes = f"shape {tuple(tensor.shape)}, not {tuple(target.shape)}"
            raise UserError(f"{path}: is not {preset.name} ({name}: {shapes}); check the file")
        # Copy in the stored dtype and convert on the device: a GPU converts faster.
        loaded[name] = tensor.to(device, copy=True).to(target.dtype)
        finite.append(torch.isfinite(loaded[name]).all())
    if not torch.stack(finite).all():  # one check at the end synchronises with the device only once
        name = next(name for name, fine in zip(loaded, finite, strict=True) if not fine)
        raise UserError(f"{path}: {name} contains infinity or NaN; get the file again")
    model.load_state_dict(loaded, assign=True)
    parameters = sum(tensor.numel() for tensor in loaded.values())
    log.info("%s: %s loaded, %.1f million parameters", preset.name, path.name, parameters / 1e6)


def freeze(model: Model, device: torch.device) -> Model:
    """Move a model to a device, in ``eval`` mode and without gradients."""
    return model.to(device).eval().requires_grad_(False)
