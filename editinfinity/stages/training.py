"""Training inside a stage: continue from a checkpoint, report progress, pause and resume.

The file of a paused training is stored next to the checkpoint that the training will write, under a
different name. It is not an output of any rule, so Snakemake neither mistakes it for a result nor
deletes it when the job fails.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from editinfinity.cancellation import Stopped
from editinfinity.compute import environment_on
from editinfinity.errors import UserError
from editinfinity.files.atomic import write_text
from editinfinity.files.checkpoints import OptimizerState
from editinfinity.files.tensors import load_tensors, save_tensors
from editinfinity.jobs.record import Iteration
from editinfinity.method.invert import TrainingCallbacks
from editinfinity.stages.host import Host, PauseFile

log = logging.getLogger(__name__)

KIND = "paused_training"


@dataclass(frozen=True)
class PausedTraining:
    """State of a paused training, from which it resumes with unchanged results.

    Attributes:
        parameters: values of the trained parameters, in the order of the training.
        state: the optimizer's state for these parameters; it contains the iteration.
        losses: losses of the iterations since the last checkpoint, in order.
    """

    parameters: Sequence[Tensor]
    state: OptimizerState
    losses: Sequence[float]

    def save(self, pause: PauseFile) -> None:
        """Write the paused training to a file, from which ``resume`` reads it.

        Args:
            pause: path of the file, and the identity of the training, which is written into it.
        """
        tensors = {
            **{f"parameter.{index:05d}": value for index, value in enumerate(self.parameters)},
            **{
                f"optimizer.{index:05d}.{name}": value
                for index, values in enumerate(self.state.parameters)
                for name, value in values.items()
            },
            "losses": torch.tensor(self.losses, dtype=torch.float64),
        }
        metadata = {
            "kind": KIND,
            "identity": pause.identity,
            "iteration": self.state.iteration,
            "preset": self.state.preset,
        }
        save_tensors(pause.path, tensors, metadata)


def resume(pause: PauseFile, parameters: Sequence[Tensor], preset: str) -> PausedTraining | None:
    """Load the paused state of a training; return None if there is none.

    A file that is damaged or belongs to another training is deleted.

    Args:
        pause: the file, and the identity of the training.
        parameters: the trained parameters; only their number is used.
        preset: name of the model's preset.
    """
    if not pause.path.exists():
        return None
    try:
        tensors, found = load_tensors(pause.path, KIND, ["losses"])
    except UserError:
        found = {}
    if found.get("identity") != pause.identity:
        pause.path.unlink(missing_ok=True)
        return None
    states: list[dict[str, Tensor]] = [{} for _ in parameters]
    for key, tensor in tensors.items():
        group, _, rest = key.partition(".")
        if group == "optimizer":
            index, _, name = rest.partition(".")
            states[int(index)][name] = tensor
    values = [tensors[f"parameter.{index:05d}"] for index in range(len(parameters))]
    state = OptimizerState(states, int(found["iteration"]), preset)
    return PausedTraining(values, state, tensors["losses"].tolist())


Checkpoint = Callable[[nn.Module, Sequence[nn.Parameter]], OptimizerState]
"""Function that loads a checkpoint into the trained parameters and returns its optimizer state."""


class StageTraining(TrainingCallbacks):
    """Callbacks of a training inside a stage: report, resume, pause, and write the losses.

    The training starts from the file of a paused run if there is one, else from a checkpoint, else
    from the beginning. Every iteration is logged. When the host requests a stop, the progress is
    written to the file of ``pause`` and ``Stopped`` is raised. At the end, that file is deleted and
    the table of losses is written.

    Args:
        stage: name of the stage, for messages.
        iterations: number of the last iteration.
        preset: name of the model's preset.
        host: the process that runs the stage, which may request a stop.
        checkpoint: restores the checkpoint to continue from; None starts from the beginning.
        losses: file for lines of ``iteration<TAB>loss`` for the updates since the checkpoint;
            None writes no file.
        pause: file for the progress when the host requests a stop, and identity of the training.
            With None, the progress is lost.
    """

    def __init__(
        self,
        stage: str,
        iterations: int,
        preset: str,
        host: Host,
        checkpoint: Checkpoint | None = None,
        losses: Path | None = None,
        pause: PauseFile | None = None,
    ) -> None:
        self.stage, self.iterations, self.preset = stage, iterations, preset
        self.host, self.checkpoint, self.pause = host, checkpoint, pause
        self.table, self.losses = losses, list[float]()
        self.start_time, self.start_count = time.perf_counter(), 0

    def on_start(
        self, model: nn.Module, parameters: Sequence[nn.Parameter]
    ) -> OptimizerState | None:
        """Continue from the paused run, or else from the checkpoint."""
        state = None if self.checkpoint is None else self.checkpoint(model, parameters)
        if self.pause is not None and (paused := resume(self.pause, parameters, self.preset)):
            copy_into(parameters, paused.parameters)
            state, self.losses = paused.state, list(paused.losses)
            log.info("%s: resumes after iteration %d", self.stage, state.iteration)
        device = parameters[0].device
        log.info("%s: trains on %s", self.stage, device, extra={"event": environment_on(device)})
        self.start_time, self.start_count = time.perf_counter(), len(self.losses)
        return state

    def steps(self, iterations: Iterable[int]) -> Iterator[int]:
        """Return the iterations, ending early if the host requests a stop."""
        return self.host.steps(iterations)

    def on_iteration(self, name: str, iteration: int, last: int, loss: float) -> None:
        """Log the iteration."""
        self.losses.append(loss)
        rate = (len(self.losses) - self.start_count) / (time.perf_counter() - self.start_time)
        progress = Iteration(name, iteration, last, loss, rate)
        log.info("%s", progress, extra={"event": progress})

    def on_end(self, parameters: Sequence[nn.Parameter], state: OptimizerState) -> None:
        """Write the losses or, if the training was stopped early, save its progress.

        Raises:
            Stopped: the host requested a stop before the last iteration.
        """
        if state.iteration < self.iterations:
            if self.pause is not None and self.losses:
                progress = [tensor.detach() for tensor in parameters]
                PausedTraining(progress, state, self.losses).save(self.pause)
            raise Stopped(
                f"{self.stage}: stopped after iteration {state.iteration} of {self.iterations} "
                f"({self.host.stop_reason}); run again to continue from there"
            )
        if self.table is not None:
            first = self.iterations - len(self.losses) + 1
            rows = (f"{number}\t{loss:.8g}" for number, loss in enumerate(self.losses, first))
            write_text(self.table, "\n".join(["iteration\tloss", *rows]) + "\n")
        if self.pause is not None:
            self.pause.path.unlink(missing_ok=True)


def copy_into(parameters: Sequence[nn.Parameter], values: Sequence[Tensor]) -> None:
    """Copy values that were learned earlier into the parameters, in place."""
    with torch.no_grad():
        for parameter, value in zip(parameters, values, strict=True):
            parameter.copy_(value)
