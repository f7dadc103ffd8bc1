"""What loading any model takes: its tensors put in place, and random ones for the tests."""

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
    """A part of a preset with its weights, random ones where the preset has none.

    Args:
        build: makes the model, with its own initial weights.
        preset: whose it is.
        part: ``tokenizer`` or ``transformer``.
        renamed: gives the tensors of a released file the names of ours.
        device: where the weights go.
        model_dir: folder of released weights; None for the usual one.

    Raises:
        UserError: the weights are missing, damaged or another model's.
    """
    if preset.weights is None:
        return _random_weights(build, preset)
    folder, pattern = model_folder(preset, model_dir), getattr(preset.weights, part)
    files = find_weight_files(folder, pattern, f"{preset.name}'s {part}")
    model = blank(build)
    _fill(model, renamed(read_state_dict(files)), device, files[0], preset)
    return model


def _random_weights(build: Callable[[], Model], preset: Preset) -> Model:
    """A model with its own initial weights, the same every time."""
    with torch.random.fork_rng(devices=[]):
        reseed(0, f"weights of {preset.name}", 0)
        return build()


_DRAWS = frozenset(
    (Tensor.normal_, Tensor.uniform_, init.normal_, init.uniform_, init.kaiming_uniform_)
)


class _NothingDrawn(TorchFunctionMode):
    """Leaves tensors as they are where layers would draw their initial values.

    On the meta device those draws have no result, but load seconds' worth of PyTorch.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        named = kwargs or {}
        if func in _DRAWS:
            return args[0] if args else named["tensor"]
        return func(*args, **named)


def blank(build: Callable[[], Model]) -> Model:
    """A model on the meta device: shapes, no memory, to be filled."""
    with torch.device("meta"), _NothingDrawn():
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
    ready, finite = {}, []
    for name, target in wanted.items():
        tensor = state[name]
        if tensor.shape != target.shape:
            shapes = f"{tuple(tensor.shape)}, not {tuple(target.shape)}"
            raise UserError(f"{path}: is not {preset.name}: {name} is {shapes}; check the file")
        # Copied as stored, and converted there: a card does that faster.
        ready[name] = tensor.to(device, copy=True).to(target.dtype)
        finite.append(torch.isfinite(ready[name]).all())
    if not torch.stack(finite).all():  # asked once, for the device need not be waited for till now
        name = next(name for name, fine in zip(ready, finite, strict=True) if not fine)
        raise UserError(f"{path}: {name} holds numbers that are not finite; get the file again")
    model.load_state_dict(ready, assign=True)
    parameters = sum(tensor.numel() for tensor in ready.values())
    log.info("%s: %s loaded, %.1f million parameters", preset.name, path.name, parameters / 1e6)


def frozen(model: Model, device: torch.device) -> Model:
    """The model on its device, in ``eval`` mode, without gradients."""
    return model.to(device).eval().requires_grad_(False)
