"""The loop both training scripts run: optimizer, schedule, averages, checkpoints, curve."""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from training.state import (
    Average,
    Budget,
    Curve,
    Progress,
    export_weights,
    load_state,
    save_state,
    table,
)

log = logging.getLogger(__name__)

CHECKPOINT_SECONDS = 60.0
CURVE_SECONDS = 15.0

Losses = Callable[[int], dict[str, Tensor]]
"""Step → named scalars; ``loss`` is the one to minimise."""

Check = Callable[[nn.Module], Mapping[str, float]]
"""Averaged model → held-out measurements."""


@dataclass(frozen=True)
class Recipe:
    """The optimizer's settings.

    Attributes:
        learning_rate: peak of the cosine.
        warm_up: updates of linear warm-up.
        betas, weight_decay, clip: of AdamW and its gradient clipping.
        decay: of the averaged weights.
    """

    learning_rate: float
    warm_up: int
    betas: tuple[float, float]
    weight_decay: float
    clip: float
    decay: float


def add_options(parser: argparse.ArgumentParser, state: Path) -> None:
    """Options both scripts share."""
    parser.add_argument(
        "--carry", type=Path, default=Path(".carry"), help="made by training.assets"
    )
    parser.add_argument("--seconds", type=float, default=540, help="of this call, all included")
    parser.add_argument("--total-seconds", type=float, help="of the whole run (its cosine)")
    parser.add_argument("--state", type=Path, default=state, help="folder of checkpoint and curve")
    parser.add_argument("--resume", type=Path, help="a state folder, or exported weights")
    parser.add_argument("--export", type=Path, help="write fp16 weights here at the end")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--backgrounds", type=int, default=64, help="pictures a backdrop")
    parser.add_argument("--checks", type=int, default=256, help="held-out scenes of the last table")


def set_up(options: argparse.Namespace) -> torch.device:
    """Logging, numeric modes, seeds."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.manual_seed(options.seed)
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    return torch.device(options.device)


def compiled(module: nn.Module, wanted: bool) -> Callable[..., Tensor]:
    """The module compiled where that works; plain otherwise."""
    if not wanted:
        return module
    torch._dynamo.config.suppress_errors = True
    return torch.compile(module, dynamic=False)


def train(
    model: nn.Module, stem: str, losses: Losses, check: Check, recipe: Recipe,
    options: argparse.Namespace, started: float, complete: Callable[..., None] | None = None,
) -> None:  # fmt: skip
    """Train until the call's seconds are spent; print a table; save and export.

    Args:
        stem: of the exported files.
        started: ``time.monotonic()`` at the program's start; loading counts towards ``--seconds``
            but not towards the learning rate's cosine.
        complete: last touches on the averaged model before it is checked and exported.
    """
    rate = options.learning_rate or recipe.learning_rate
    fused = options.device.startswith("cuda")
    optimizer = torch.optim.AdamW(
        model.parameters(), rate, recipe.betas, weight_decay=recipe.weight_decay, fused=fused
    )
    average = Average(model, recipe.decay)
    progress = Progress()
    if options.resume:
        progress = load_state(options.resume, stem, model, average, optimizer)
    step = progress.step
    left = options.seconds - (time.monotonic() - started)
    budget = Budget(left, options.total_seconds or progress.seconds + left, progress)
    curve = None
    saved = shown = time.monotonic()
    first = step
    while not budget.over:
        for group in optimizer.param_groups:
            group["lr"] = budget.learning_rate(rate, step, recipe.warm_up)
        values = losses(step)
        optimizer.zero_grad(set_to_none=True)
        values["loss"].backward()
        values["norm"] = nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        optimizer.step()
        average.update(model, step)
        step += 1
        now = time.monotonic()
        if step - first in (1, 5) or now - shown > CURVE_SECONDS:
            shown = now
            curve = curve or Curve(
                options.state / "curve.tsv", ("step", "seconds", "lr", *values.keys())
            )
            rate_now = optimizer.param_groups[0]["lr"]
            numbers = {k: float(v.detach()) for k, v in values.items()}
            curve.add(step=step, seconds=budget.spent_in_all, lr=rate_now, **numbers)
            if not all(map(torch.isfinite, map(torch.tensor, numbers.values()))):
                raise SystemExit("training diverged; resume from the last checkpoint")
        if now - saved > CHECKPOINT_SECONDS:
            save_state(
                options.state, model, average, optimizer, Progress(step, budget.spent_in_all)
            )
            saved = time.monotonic()
    save_state(options.state, model, average, optimizer, Progress(step, budget.spent_in_all))
    if complete:
        complete(average.model)
    _finish(stem, check, average, options, step, first, budget)


def _finish(
    stem: str, check: Check, average: Average, options: argparse.Namespace, step: int, first: int,
    budget: Budget,
) -> None:  # fmt: skip
    """Held-out table, exported weights."""
    rows: dict[str, float | int | str] = {
        "updates": step,
        "seconds": budget.spent_in_all,
        "milliseconds an update": 1000 * budget.spent / max(1, step - first),
    }
    if options.device.startswith("cuda"):
        rows["peak memory, GiB"] = torch.cuda.max_memory_allocated() / 2**30
    if options.export:
        paths = export_weights(average.model.state_dict(), options.export, stem)
        rows["exported, MiB"] = sum(path.stat().st_size for path in paths) / 2**20
    rows |= check(average.model)
    text = table(rows)
    (options.state / "table.txt").write_text(text + "\n")
    log.info("done\n%s", text)
