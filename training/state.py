"""State of a training run: time budget, learning rate, averaged weights, checkpoints, curves."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from editinfinity.models.released import released_transformer_key, transformer_state
from editinfinity.presets import preset

log = logging.getLogger(__name__)

SHARD_BYTES = 15 * 2**20
"""Largest weight file written by :func:`export_weights` (the repository's limit is 16 MiB)."""


STATE = "state.safetensors"


def holds_state(folder: Path) -> bool:
    """Return whether a run can be continued from the folder."""
    return (folder / STATE).exists()


@dataclass
class Progress:
    """Progress of a run over all its calls: completed updates and seconds of training."""

    step: int = 0
    seconds: float = 0.0


def progress_of(folder: Path) -> Progress:
    """Return the progress of the run in the folder; zero if there is none."""
    if not holds_state(folder):
        return Progress()
    with safe_open(folder / STATE, "pt") as file:
        return Progress(**json.loads(file.metadata()["progress"]))


class Budget:
    """Time budget of one call and of the whole run.

    The learning rate follows the whole run's share of time spent, not steps, so that one cosine
    spans several calls, whatever their speed.
    """

    def __init__(self, seconds: float, total_seconds: float, progress: Progress) -> None:
        self.seconds = seconds
        self.total = total_seconds
        self.before = progress.seconds
        self.start = time.monotonic()

    @property
    def spent(self) -> float:
        """Seconds since the start of this call."""
        return time.monotonic() - self.start

    @property
    def spent_in_all(self) -> float:
        """Seconds of the whole run so far."""
        return self.before + self.spent

    @property
    def over(self) -> bool:
        """Whether the time of this call or of the run is spent."""
        return self.spent >= self.seconds or self.spent_in_all >= self.total

    def learning_rate(self, peak: float, step: int, warm_up: int, floor: float = 0.01) -> float:
        """Return the rate: linear warm-up over steps, then a cosine over time down to ``floor``."""
        share = min(1.0, self.spent_in_all / self.total)
        cosine = floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * share))
        return peak * cosine * min(1.0, (step + 1) / warm_up)


class Average:
    """Exponential moving average of a model's weights, warmed up so that early steps count less."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay
        self._ours = list(self.model.parameters())
        self._theirs = [p.detach() for p in model.parameters()]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the model's weights, whose addresses must not have changed."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self._ours, self._theirs, 1 - decay)


def save_state(
    folder: Path, model: nn.Module, average: Average, optimizers: Sequence[torch.optim.Optimizer],
    progress: Progress,
) -> None:  # fmt: skip
    """Write one safetensors file, renamed when complete, so that a killed run leaves the last."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in average.model.state_dict().items()}
    for number, optimizer in enumerate(optimizers):
        for index, moments in optimizer.state_dict()["state"].items():
            for name, value in moments.items():
                tensors[f"optimizer.{number}.{index}.{name}"] = torch.as_tensor(value)
    tensors = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    temporary = folder / "state.partial"
    save_file(tensors, temporary, metadata={"progress": json.dumps(asdict(progress))})
    temporary.replace(folder / STATE)


def load_state(
    path: Path, stem: str, model: nn.Module, average: Average,
    optimizers: Sequence[torch.optim.Optimizer],
) -> Progress:  # fmt: skip
    """Continue from a state folder, or from exported weights alone (fresh moments, step 0)."""
    if not holds_state(path):
        weights = read_weights(path, stem)
        model.load_state_dict(weights)
        average.model.load_state_dict(weights)
        log.info("continuing from weights alone (%s): fresh optimizer", path)
        return Progress()
    progress = progress_of(path)
    tensors = load_file(path / STATE)
    model.load_state_dict(_part(tensors, "model."))
    average.model.load_state_dict(_part(tensors, "average."))
    for number, optimizer in enumerate(optimizers):
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in _part(tensors, f"optimizer.{number}.").items():
            index, name = key.split(".", 1)
            moments.setdefault(int(index), {})[name] = value
        state = optimizer.state_dict()
        state["state"] = moments
        optimizer.load_state_dict(state)
    log.info("continuing at step %d, %.0f s spent", progress.step, progress.seconds)
    return progress


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def build_upon(folder: Path, weights: Path, stem: str) -> None:
    """Record the frozen weights that a run depends on; refuse to continue it with others.

    Args:
        folder: folder of the run's state.
        weights: folder of the frozen ``stem*.safetensors``.

    Raises:
        SystemExit: the run was started with other weights.
    """
    digest = hashlib.sha256()
    for file in sorted(weights.glob(f"{stem}*.safetensors")):
        digest.update(file.read_bytes())
    note = folder / f"{stem}.sha256"
    if not holds_state(folder):
        folder.mkdir(parents=True, exist_ok=True)
    elif not note.exists():
        log.warning("%s: has no record of its %s; assuming that it is this one", folder, stem)
    elif note.read_text("utf-8").strip() != digest.hexdigest():
        raise SystemExit(
            f"{folder}: was trained with another {stem} than {weights}; delete it to start over, "
            "or give the weights it was trained with"
        )
    note.write_text(f"{digest.hexdigest()}\n", encoding="utf-8")


def read_weights(folder: Path, stem: str) -> dict[str, Tensor]:
    """Return the tensors of ``stem*.safetensors`` in a folder as fp32, with our modules' names."""
    weights: dict[str, Tensor] = {}
    for file in sorted(folder.glob(f"{stem}*.safetensors")):
        weights |= {k: v.float() for k, v in load_file(file).items()}
    if not weights:
        raise SystemExit(f"{folder}: has no {stem}*.safetensors; give a state or export folder")
    if stem == "transformer":
        return transformer_state(weights, preset("bundled").transformer)
    return weights


def export_weights(state: Mapping[str, Tensor], folder: Path, stem: str) -> list[Path]:
    """Write fp16 safetensors with the released key names, split into files below 15 MiB."""
    folder.mkdir(parents=True, exist_ok=True)
    if stem == "transformer":
        config = preset("bundled").transformer
        state = {released_transformer_key(key, config): value for key, value in state.items()}
    shards: list[dict[str, Tensor]] = [{}]
    room = SHARD_BYTES
    for key, value in state.items():
        half = value.detach().to("cpu", torch.float16).contiguous()
        if not torch.isfinite(half).all():
            raise ValueError(f"{key} does not fit fp16")
        size = half.numel() * 2
        if size > room:
            shards.append({})
            room = SHARD_BYTES
        shards[-1][key] = half
        room -= size
    count = len(shards)
    paths = []
    for index, shard in enumerate(shards):
        name = stem if count == 1 else f"{stem}-{index + 1:05d}-of-{count:05d}"
        paths.append(folder / f"{name}.safetensors")
        save_file(shard, paths[-1])
    return paths


class Curve:
    """A table of measurements over time; each one is appended as a line."""

    def __init__(self, path: Path, columns: tuple[str, ...]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.columns = columns
        if not path.exists():
            path.write_text("\t".join(columns) + "\n")

    def add(self, **values: Any) -> None:
        """Append one line; numbers have five significant digits."""
        line = "\t".join(
            f"{values[c]:.5g}" if isinstance(values[c], float) else str(values[c])
            for c in self.columns
        )
        with self.path.open("a") as file:
            file.write(line + "\n")
        log.info(
            "%s", " ".join(f"{c}={v}" for c, v in zip(self.columns, line.split("\t"), strict=True))
        )


def table(rows: Mapping[str, float | int | str]) -> str:
    """Return a text table of names and values."""
    width = max(len(name) for name in rows)
    shown = {k: f"{v:.4g}" if isinstance(v, float) else str(v) for k, v in rows.items()}
    return "\n".join(f"{name:<{width}}  {value}" for name, value in shown.items())
