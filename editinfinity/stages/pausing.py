"""A training left off between two checkpoints, and taken up again.

The file lies beside the checkpoint that it was to become, under a name of its own: no rule knows
it, so Snakemake neither takes it for a result nor deletes it when the job has failed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from editinfinity.errors import UserError
from editinfinity.files.checkpoints import OptimizerState
from editinfinity.files.tensors import load_tensors, save_tensors
from editinfinity.stages.settings import Pause

KIND = "paused_training"


@dataclass(frozen=True)
class Paused:
    """Everything a training needs to go on as if nothing had happened.

    Attributes:
        parameters: what trains, in its order.
        state: the optimizer's, of the same parameters; knows the iteration.
        losses: of the iterations since the last checkpoint, in order.
    """

    parameters: Sequence[Tensor]
    state: OptimizerState
    losses: Sequence[float]

    def save(self, pause: Pause) -> None:
        """Write the file."""
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


def take_up(pause: Pause, parameters: Sequence[Tensor], preset: str) -> Paused | None:
    """What was left off, if it is this very training; anything else is removed.

    Args:
        pause: where, and which training.
        parameters: what trains, for the shapes.
        preset: the model's name.
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
    return Paused(values, state, tensors["losses"].tolist())
