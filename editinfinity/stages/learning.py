"""What both training stages share: the photograph as a lesson, progress, and continuing a run."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from editinfinity.compute import determinism, reseed, telling_memory_faults
from editinfinity.errors import UserError
from editinfinity.files.atomic import write_text
from editinfinity.files.checkpoints import OptimizerState
from editinfinity.files.features import ImageFeatures, PromptFeatures, require_preset
from editinfinity.inversion import recomputing
from editinfinity.inversion.training import (
    InversionLoss,
    NoiseSettings,
    OptimizerSettings,
    ParameterState,
    Source,
    train,
)
from editinfinity.jobs.record import Iteration
from editinfinity.models.transformer import Infinity
from editinfinity.presets import Preset
from editinfinity.stages.conditioning import text_of
from editinfinity.stages.host import ALONE, Host
from editinfinity.stages.pausing import Paused, take_up
from editinfinity.stages.settings import Pause, TrainingSettings
from editinfinity.stopping import Stopped

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
    recomputed: str = "auto",
) -> InversionLoss:
    """The loss of a stage; ``model`` is ``base`` or ``base`` with an adapter.

    ``recomputed`` is the setting ``gradient_checkpointing``.
    """
    base.set_drop_path(training.drop_path)
    model.train()
    noise = NoiseSettings(training.noise_strength, training.condition_dropout)
    batch = training.batch_size or preset.training.batch_size
    recomputing.prepare(base, batch * source.schedule.tokens, recomputed)
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
    pause: Pause | None = None,
    host: Host = ALONE,
) -> OptimizerState:
    """Run the iterations, reporting each; those of a paused run are not run again.

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
        pause: where to keep what is done when the host asks to stop.
        host: the process this runs in.

    Raises:
        UserError: the loss became infinite, or memory ran out.
        Stopped: the host asked to stop; what is done was kept, if there was a place for it.
    """
    trained = list(parameters)
    optimizer = OptimizerSettings(
        learning_rate, training.betas, training.gradient_clip, training.weight_decay
    )
    progress = _Progress(stage, iterations)
    if pause is not None and (paused := take_up(pause, trained, preset.name)):
        _restore(trained, paused)
        state = paused.state
        progress.go_on(paused.losses)
    try:
        with (
            telling_memory_faults("lower batch_size, or choose a smaller pixel_budget"),
            determinism(training.deterministic),
        ):
            after = train(
                trained,
                loss,
                optimizer,
                host.steps(progress.to_come),
                lambda iteration: reseed(training.seed, stage, iteration),
                None if state is None else dict(enumerate(state.parameters)),
                progress,
            )
    except FloatingPointError as error:
        raise UserError(f"{stage}: {error}; lower the learning rate") from None
    done = OptimizerState(_plain(after, len(trained)), progress.last, preset.name)
    if progress.to_come:
        if pause is not None and progress.losses:
            Paused([tensor.detach() for tensor in trained], done, progress.losses).save(pause)
        raise Stopped(
            f"{stage}: stopped after iteration {progress.last} of {iterations[-1]} "
            f"({host.asked}); run again, and it goes on from there"
        )
    if losses is not None:
        progress.save(losses)
    if pause is not None:
        pause.path.unlink(missing_ok=True)
    return done


def _restore(parameters: Sequence[nn.Parameter], paused: Paused) -> None:
    """Put what was learnt back in place."""
    with torch.no_grad():
        for parameter, value in zip(parameters, paused.parameters, strict=True):
            parameter.copy_(value)


def _plain(state: Mapping[int, ParameterState], count: int) -> list[ParameterState]:
    """The optimizer's state, on the CPU."""
    return [
        {name: value.detach().cpu() for name, value in state.get(index, {}).items()}
        for index in range(count)
    ]


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
    """Logs every iteration and keeps its loss.

    Attributes:
        losses: of the iterations that are done, in order.
    """

    def __init__(self, stage: str, iterations: range) -> None:
        self.stage, self.iterations = stage, iterations
        self.losses: list[float] = []
        self.began, self.begun_at = time.perf_counter(), 0

    @property
    def to_come(self) -> range:
        """The iterations that are not done yet."""
        return self.iterations[len(self.losses) :]

    @property
    def last(self) -> int:
        """The last iteration that is done, by this run or an earlier one."""
        return self.iterations[0] - 1 + len(self.losses)

    def go_on(self, losses: Sequence[float]) -> None:
        """Take over what a paused run has done."""
        self.losses = list(losses)
        self.begun_at = len(losses)
        log.info("%s: goes on after iteration %d", self.stage, self.last)

    def __call__(self, iteration: int, loss: float) -> None:
        self.losses.append(loss)
        rate = (len(self.losses) - self.begun_at) / (time.perf_counter() - self.began)
        done = Iteration(self.stage, iteration, self.iterations[-1], loss, rate)
        log.info("%s", done, extra={"event": done})

    def save(self, path: Path) -> None:
        """Write the losses, a line an iteration."""
        rows = zip(self.iterations, self.losses, strict=True)
        lines = ["iteration\tloss", *(f"{number}\t{loss:.8g}" for number, loss in rows)]
        write_text(path, "\n".join(lines) + "\n")
