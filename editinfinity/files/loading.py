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


def built(
    build: Callable[[], Model],
    preset: Preset,
    part: str,
    renamed: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]],
    device: torch.device,
    model_dir: Path | None,
) -> Model:
    """Build a part of a preset and load its weights, or random ones if the preset has none.

    Args:
        build: creates the model with its own initial weights.
        preset: the preset that the part belongs to.
        part: ``tokenizer`` or ``transformer``.
        renamed: maps the tensor names of a released file to this project's names.
        device: the device for the weights.
        model_dir: folder of released weights; None for the default one.

    Raises:
        UserError: the weights are missing, damaged or belong to another model.
    """
    if preset.weights is None:
        return _random_weights(build, preset)
    folder, pattern = model_folder(preset, model_dir), getattr(preset.weights, part)
    files = find_weight_files(folder, pattern, f"{preset.name}'s {part}")
    model = blank(build)
    _fill(model, renamed(read_state_dict(files)), device, files[0], preset)
    return model


def _random_weights(build: Callable[[], Model], preset: Preset) -> Model:
    """Build a model with random initial weights, always the same ones."""
    with torch.random.fork_rng(devices=[]):
        reseed(0, f"weights of {preset.name}", 0)
        return build()


_DRAWS = frozenset(
    (Tensor.normal_, Tensor.uniform_, init.normal_, init.uniform_, init.kaiming_uniform_)
)


class _NothingDrawn(TorchFunctionMode):
    """Skip the random initialisation of layers.

    On the meta device, initialisation has no effect, but it spends seconds on loading further
    parts of PyTorch.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        named = kwargs or {}
        if func in _DRAWS:
            return args[0] if args else named["tensor"]
        return func(*args, **named)


def blank(build: Callable[[], Model]) -> Model:
    """Build a model on the meta device: it has shapes but no memory, and is filled later."""
    with torch.device("meta"), _NothingDrawn():
        return build()


def _fill(
    model: nn.Module, state: Mapping[str, Tensor], device: torch.device, path: Path, preset: Preset
) -> None:
    """Load weights into a model on the meta device, one tensor in memory at a time.

    Raises:
        UserError: names or shapes do not match the model, or a number is not finite.
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
    ready, finite = {}, []
    for name, target in wanted.items():
        tensor = state[name]
        if tensor.shape != target.shape:
            shapes = f"{tuple(tensor.shape)}, not {tuple(target.shape)}"
            raise UserError(f"{path}: is not {preset.name}: {name} is {shapes}; check the file")
        # Copy in the stored dtype and convert on the device: a GPU converts faster.
        ready[name] = tensor.to(device, copy=True).to(target.dtype)
        finite.append(torch.isfinite(ready[name]).all())
    if not torch.stack(finite).all():  # one check at the end synchronises with the device only once
        name = next(name for name, fine in zip(ready, finite, strict=True) if not fine)
        raise UserError(f"{path}: {name} holds numbers that are not finite; get the file again")
    model.load_state_dict(ready, assign=True)
    parameters = sum(tensor.numel() for tensor in ready.values())
    log.info("%s: %s loaded, %.1f million parameters", preset.name, path.name, parameters / 1e6)


def frozen(model: Model, device: torch.device) -> Model:
    """Move a model to a device, in ``eval`` mode and without gradients."""
    return model.to(device).eval().requires_grad_(False)
