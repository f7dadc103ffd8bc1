"""Settings of the stages: those of the method, and what only a stage has to be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from editinfinity.settings.groups import (
    LoraSettings,
    ModelSettings,
    SamplingSettings,
    TrainingSettings,
)

__all__ = ["LoraSettings", "ModelSettings", "Pause", "SamplingSettings", "TrainingSettings"]


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
