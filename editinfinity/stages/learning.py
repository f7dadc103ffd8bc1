"""What both training stages share: the photograph as a lesson, progress, and continuing a run."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import nn

from editinfinity.compute import reseed, telling_memory_faults
from editinfinity.errors import UserError
from editinfinity.files.atomic import write_text
from editinfinity.files.checkpoints import OptimizerState
from editinfinity.files.features import ImageFeatures, PromptFeatures, require_preset
from editinfinity.inversion.training import (
    InversionLoss,
    NoiseSettings,
    OptimizerSettings,
    Source,
    train,
)
from editinfinity.models.transformer import Infinity
from editinfinity.presets import Preset
from editinfinity.stages.conditioning import text_of
from editinfinity.stages.settings import TrainingSettings

log = logging.getLogger(__name__)


def open_source(
    image_features: Path, text_features: Path, preset: Preset, device: torch.device
) -> Source:
    """The photograph and its prompt, without learnt vectors.

    Raises:
        UserError: a file is missing, damaged, or another model's.
    """
    source, prompt = ImageFeatures.load(image_features), PromptFeatures.load(text_features)
    for path, found in ((image_features, source.preset), (text_features, prompt.preset)):
        require_preset(found, preset.name, path)
    raw = torch.from_numpy(source.raw)[None].to(device)
    return Source(raw, text_of(prompt, device), source.schedule)


def inversion_loss(
    model: nn.Module,
    base: Infinity,
    source: Source,
    preset: Preset,
    training: TrainingSettings,
    kl_weight: float = 0.0,
) -> InversionLoss:
    """The loss of a stage; ``model`` is ``base`` or ``base`` with an adapter."""
    base.set_drop_path(training.drop_path)
    model.train()
    noise = NoiseSettings(training.noise_strength, training.condition_dropout)
    batch = training.batch_size or preset.training.batch_size
    return InversionLoss(model, base, source, noise, batch, kl_weight)


def learn(
    stage: str,
    parameters: Iterable[nn.Parameter],
    loss: InversionLoss,
    training: TrainingSettings,
    learning_rate: float,
    iterations: range,
    state: OptimizerState | None,
    preset: Preset,
    losses: Path | None,
) -> OptimizerState:
    """Run the iterations, reporting each.

    Args:
        stage: its name; seeds and messages carry it.
        parameters: what trains, in an order that is the same every time.
        loss: of ``inversion_loss``.
        training: hyperparameters.
        learning_rate: of this stage.
        iterations: numbers of the iterations to run, counted from 1.
        state: the optimizer's after the iteration before the first, or None.
        preset: the model.
        losses: table to write, if any.

    Raises:
        UserError: the loss became infinite, or memory ran out.
    """
    trained = list(parameters)
    optimizer = OptimizerSettings(
        learning_rate, training.betas, training.gradient_clip, training.weight_decay
    )
    progress = _Progress(stage, iterations)
    try:
        with telling_memory_faults("lower batch_size, or choose a smaller pixel_budget"):
            after = train(
                trained,
                loss,
                optimizer,
                iterations,
                lambda iteration: reseed(training.seed, stage, iteration),
                None if state is None else dict(enumerate(state.parameters)),
                progress,
            )
    except FloatingPointError as error:
        raise UserError(f"{stage}: {error}; lower the learning rate") from None
    if losses is not None:
        progress.save(losses)
    parameters_state = [
        {name: value.detach().cpu() for name, value in after[index].items()}
        for index in range(len(trained))
    ]
    return OptimizerState(parameters_state, iterations[-1], preset.name)


def iterations_to_run(stage: str, first_unseen: int, last: int) -> range:
    """Numbers of the iterations between a checkpoint and the one wanted.

    Raises:
        UserError: there are none.
    """
    if last < first_unseen:
        raise UserError(
            f"{stage}: cannot make iteration {last} from iteration {first_unseen - 1}; "
            "ask for more iterations, from 1 up"
        )
    return range(first_unseen, last + 1)


def require_same_iteration(checkpoint: int, state: OptimizerState, path: Path) -> None:
    """Refuse an optimizer state that does not belong to its checkpoint.

    Raises:
        UserError: it does not.
    """
    if state.iteration != checkpoint:
        raise UserError(
            f"{path}: is of iteration {state.iteration}, the checkpoint beside it of "
            f"{checkpoint}; delete both and run again"
        )


class _Progress:
    """Logs every iteration and keeps its loss."""

    def __init__(self, stage: str, iterations: range) -> None:
        self.stage, self.iterations = stage, iterations
        self.rows: list[tuple[int, float]] = []
        self.began = time.perf_counter()

    def __call__(self, iteration: int, loss: float) -> None:
        self.rows.append((iteration, loss))
        rate = len(self.rows) / (time.perf_counter() - self.began)
        log.info(
            "%s: iteration %d of %d, loss %.4f, %.2f iterations a second",
            self.stage,
            iteration,
            self.iterations[-1],
            loss,
            rate,
        )

    def save(self, path: Path) -> None:
        """Write the losses, a line an iteration."""
        lines = ["iteration\tloss", *(f"{number}\t{loss:.8g}" for number, loss in self.rows)]
        write_text(path, "\n".join(lines) + "\n")
