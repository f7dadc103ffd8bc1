"""Progress of the Python pipeline, which a caller can show, and end the work at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Stage = Literal[
    "image_features", "train_textembedding", "train_lora", "attention_map", "prompt_map", "edit"
]
"""What is being done: the name of the workflow's stage that does the same."""


@dataclass(frozen=True)
class Progress:
    """A step that has been completed.

    Attributes:
        stage: what the step belongs to.
        step: number of the step in this stage, from 1.
        of: number of steps of this stage in this call.
        loss: loss of a training's iteration; None for other steps.
    """

    stage: Stage
    step: int
    of: int
    loss: float | None = None


OnProgress = Callable[[Progress], object]
"""Function that is called after each step. An exception that it raises ends the work, and is raised
to the caller."""


class Steps:
    """Reports the steps of a stage, which have no other result than that they are done.

    Args:
        on_progress: called after each step; None reports nothing.
        stage: what the steps belong to.
        of: number of steps.
    """

    def __init__(self, on_progress: OnProgress | None, stage: Stage, of: int) -> None:
        self.on_progress, self.stage, self.of, self.step = on_progress, stage, of, 0

    def done(self, *_: object) -> None:
        """Report that the next step is done; arguments are ignored, so it fits any callback."""
        self.step += 1
        if self.on_progress is not None:
            self.on_progress(Progress(self.stage, self.step, self.of))
