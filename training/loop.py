"""Loop of both training scripts: optimizers, schedule, averaged weights, checkpoints, curve."""

from __future__ import annotations

import argparse
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from training.captured import CapturedUpdate
from training.muon import Muon
from training.state import (
    Average,
    Budget,
    Curve,
    Progress,
    export_weights,
    holds_state,
    load_state,
    save_state,
    table,
)

log = logging.getLogger(__name__)

CHECKPOINT_SECONDS = 60.0
CURVE_SECONDS = 15.0
FAITHFUL = 0.01
"""Maximum relative difference between the compiled and the plain loss."""


class Course(Protocol):
    """Training data and losses of a model, and its held-out evaluation."""

    def feed(self, step: int) -> None:
        """Copy the inputs of a step to where :meth:`losses` reads them."""

    def prepare(self, step: int) -> None:
        """Start to make the inputs of a later step."""

    def losses(self) -> dict[str, Tensor]:
        """Return named scalars for the inputs of the last step; ``loss`` is the one to minimise.

        May be captured as a CUDA graph; random numbers come from torch's global generators.
        """

    def plain(self) -> dict[str, Tensor]:
        """Return the same scalars, computed without compiled parts."""

    def check(self, average: nn.Module) -> Mapping[str, float]:
        """Return held-out measurements of the averaged model."""


@dataclass(frozen=True)
class Recipe:
    """Settings of the optimizers.

    Attributes:
        learning_rate: peak learning rate of AdamW; a cosine follows.
        matrices_rate: peak rate for the block matrices, which Muon updates; None uses AdamW.
        warm_up: number of updates of linear warm-up.
        betas, weight_decay, clip: settings of AdamW, and the maximum gradient norm.
        decay: decay of the averaged weights.
    """

    learning_rate: float
    warm_up: int
    betas: tuple[float, float]
    weight_decay: float
    clip: float
    decay: float
    matrices_rate: float | None = None


def add_options(parser: argparse.ArgumentParser, state: Path) -> None:
    """Add the options that both scripts share."""
    parser.add_argument(
        "--carry", type=Path, default=Path(".carry"), help="made by training.assets"
    )
    parser.add_argument("--seconds", type=float, default=540, help="of this call, all included")
    parser.add_argument("--total-seconds", type=float, help="of the whole run (its cosine)")
    parser.add_argument(
        "--state", type=Path, default=state,
        help="folder of checkpoint and curve; a run found there is continued",
    )  # fmt: skip
    parser.add_argument("--start-from", type=Path, help="exported weights a new run begins with")
    parser.add_argument("--export", type=Path, help="write fp16 weights here at the end")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--learning-rate-share", type=float, default=1.0, help="of the recipe's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--backgrounds", type=int, default=64, help="pictures a backdrop")
    parser.add_argument("--checks", type=int, default=256, help="held-out scenes of the last table")


def set_up(options: argparse.Namespace) -> torch.device:
    """Configure logging, numeric modes and seeds; return the device."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.manual_seed(options.seed)
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    return torch.device(options.device)


def make_optimizers(
    model: nn.Module, recipe: Recipe, device: torch.device
) -> list[torch.optim.Optimizer]:
    """Return AdamW, and Muon for the matrices of ``model.blocks`` if the recipe has a rate for it.

    Learning rates are tensors on the device, so that a captured update follows them.
    """
    matrices: list[nn.Parameter] = []
    if recipe.matrices_rate is not None:
        blocks = model.get_submodule("blocks")
        matrices = [p for p in blocks.parameters() if p.ndim == 2]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    on_gpu = device.type == "cuda"
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(
            others, torch.tensor(recipe.learning_rate, device=device), recipe.betas,
            weight_decay=recipe.weight_decay, fused=on_gpu, capturable=on_gpu,
        )
    ]  # fmt: skip
    if matrices and recipe.matrices_rate is not None:
        rate = torch.tensor(recipe.matrices_rate, device=device)
        optimizers.append(Muon(matrices, rate, weight_decay=recipe.weight_decay))
    return optimizers


class Trainer:
    """A model with its optimizers, averaged weights and course."""

    def __init__(
        self, model: nn.Module, average: Average, course: Course, recipe: Recipe,
        options: argparse.Namespace,
    ) -> None:  # fmt: skip
        self.model = model
        self.average = average
        self.course = course
        self.recipe = recipe
        self.options = options
        device = torch.device(options.device)
        self.optimizers = make_optimizers(model, recipe, device)
        self.peaks = [float(o.param_groups[0]["lr"]) for o in self.optimizers]
        self.update = CapturedUpdate(self._update, device)

    def _update(self) -> dict[str, Tensor]:
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        values = self.course.losses()
        values["loss"].backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        for optimizer in self.optimizers:
            optimizer.step()
        return {name: value.detach() for name, value in values.items()} | {"norm": norm}

    def step(self, step: int, share: float) -> dict[str, Tensor]:
        """Run one update at a share of the peak rates; the next call overwrites the values."""
        for optimizer, peak in zip(self.optimizers, self.peaks, strict=True):
            for group in optimizer.param_groups:
                group["lr"].fill_(peak * share)
        self.course.feed(step)
        torch.manual_seed(self.options.seed * 1_000_003 + step)
        values = self.update()
        self.average.update(step)
        self.course.prepare(step + 1)
        return values

    def guard(self, step: int) -> None:
        """Log an error if compiled parts give another loss than plain ones for the same weights.

        The first version was trained with attention temperatures that its compiled blocks did not
        use (training/README.md).
        """
        self.course.feed(step)
        losses = []
        for function in (self.course.losses, self.course.plain):
            torch.manual_seed(self.options.seed * 1_000_003 + step)
            losses.append(float(function()["loss"].detach()))
        compiled, plain = losses
        off = abs(compiled - plain) / plain
        report = log.info if off < FAITHFUL else log.error
        report("compiled loss %.5f, plain %.5f: %.2f %% apart", compiled, plain, 100 * off)

    def save(self, step: int, seconds: float, values: Mapping[str, Tensor]) -> None:
        """Write the checkpoint, unless the last update's values show that training diverged."""
        if not all(math.isfinite(float(value)) for value in values.values()):
            raise SystemExit("training diverged; the last checkpoint is from before that")
        progress = Progress(step, seconds)
        save_state(self.options.state, self.model, self.average, self.optimizers, progress)


def train(
    model: nn.Module, average: Average, stem: str, course: Course, recipe: Recipe,
    options: argparse.Namespace, started: float,
    complete: Callable[[nn.Module], None] | None = None,
) -> None:  # fmt: skip
    """Train until the seconds of this call are spent; log a table; save and export.

    Args:
        average: average of the model, created before anything was compiled.
        stem: start of the names of the exported files.
        started: ``time.monotonic()`` at the program's start; loading counts towards ``--seconds``
            but not towards the learning rate's cosine.
        complete: changes the averaged model before it is evaluated and exported.
    """
    trainer = Trainer(model, average, course, recipe, options)
    progress = Progress()
    if origin := options.state if holds_state(options.state) else options.start_from:
        progress = load_state(origin, stem, model, average, trainer.optimizers)
    first = step = progress.step
    left = options.seconds - (time.monotonic() - started)
    log.info("ready after %.1f s", time.monotonic() - started)
    budget = Budget(left, options.total_seconds or progress.seconds + left, progress)
    curve = None
    values: dict[str, Tensor] = {}
    saved = shown = time.monotonic()
    while not budget.over:
        share = budget.learning_rate(options.learning_rate_share, step, recipe.warm_up)
        values = trainer.step(step, share)
        step += 1
        now = time.monotonic()
        if step - first in (1, 4, 5, 50) or now - shown > CURVE_SECONDS:
            shown = now
            numbers = {name: float(value) for name, value in values.items()}
            curve = curve or Curve(
                options.state / "curve.tsv", ("step", "seconds", "lr", *numbers.keys())
            )
            rate = share * recipe.learning_rate
            curve.add(step=step, seconds=budget.spent_in_all, lr=rate, **numbers)
        if now - saved > CHECKPOINT_SECONDS:
            trainer.save(step, budget.spent_in_all, values)
            saved = time.monotonic()
    trainer.save(step, budget.spent_in_all, values)
    if options.compile:
        trainer.guard(step)
    if complete:
        complete(average.model)
    _finish(stem, course, average, options, step, first, budget)


def _finish(
    stem: str, course: Course, average: Average, options: argparse.Namespace, step: int,
    first: int, budget: Budget,
) -> None:  # fmt: skip
    """Export the weights, and write the table of held-out measurements."""
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
    rows |= course.check(average.model)
    text = table(rows)
    (options.state / "table.txt").write_text(text + "\n")
    log.info("done\n%s", text)
