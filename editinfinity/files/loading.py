"""What loading any model takes: its tensors put in place, and random ones for the tests."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from editinfinity.compute import reseed
from editinfinity.errors import UserError
from editinfinity.presets import Preset

log = logging.getLogger(__name__)

Model = TypeVar("Model", bound=nn.Module)


def random_weights(build: Callable[[], Model], preset: Preset) -> Model:
    """A model with its own initial weights, the same every time."""
    with torch.random.fork_rng(devices=[]):
        reseed(0, f"weights of {preset.name}", 0)
        return build()


def fill(
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


def frozen(model: Model, device: torch.device) -> Model:
    """The model on its device, in ``eval`` mode, without gradients."""
    return model.to(device).eval().requires_grad_(False)
