"""Settings of the stages: the method's own, and what only a stage has to be told. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from editinfinity.method.settings import (
    LoraSettings,
    SamplingSettings,
    TrainingSettings,
    require,
)

__all__ = ["LoraSettings", "ModelSettings", "Pause", "SamplingSettings", "TrainingSettings"]

GPS = ("keep", "drop")
"""What becomes of the place where a photograph was taken."""

RECOMPUTED = ("auto", "none", "all")
"""What ``gradient_checkpointing`` may say."""


@dataclass(frozen=True)
class ModelSettings:
    """Which model runs, and on what.

    Attributes:
        preset: a name of ``editinfinity.presets.PRESETS``.
        model_dir: folder of released weights; None for models that carry their own.
        attention_bias: False drops the trained q and v biases, as upstream does.
        device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        threads: CPU threads of torch; ``auto`` is every core this process may use.
        gradient_checkpointing: blocks that a training computes twice to save memory: ``auto`` (as
            few as make it fit), ``none`` or ``all``. Results are the same.
    """

    preset: str = "bundled"
    model_dir: Path | None = None
    attention_bias: bool = True
    device: str = "auto"
    threads: int | str = "auto"
    gradient_checkpointing: str = "auto"

    def __post_init__(self) -> None:
        threads_known = self.threads == "auto" or (
            isinstance(self.threads, int) and self.threads >= 1
        )
        require(threads_known, "threads", self.threads, "give 'auto' or a whole number from 1 up")
        require(
            self.gradient_checkpointing in RECOMPUTED,
            "gradient_checkpointing",
            self.gradient_checkpointing,
            f"choose one of {', '.join(RECOMPUTED)}",
        )


@dataclass(frozen=True)
class Pause:
    """Where a training that is asked to stop keeps what it has done.

    Attributes:
        path: the file.
        identity: text that is the same for the same training only: its settings, inputs and code.
            A file of another identity is not gone on from.
    """

    path: Path
    identity: str
