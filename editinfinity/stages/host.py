"""Host: the interface of the process that runs a stage, for loading models and stop requests.

Every stage that runs a model takes a host as an argument. ``ALONE`` loads models from disk and
never requests a stop. The host of a workflow job handles signals, and the host of a warm worker
keeps models in memory between stages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

Model = TypeVar("Model")


@dataclass(frozen=True)
class PauseFile:
    """File in which a training saves its progress when a stop is requested.

    Attributes:
        path: path of the file.
        identity: text that identifies the training by its settings, inputs and code. A file with
            another identity is not resumed.
    """

    path: Path
    identity: str


class Host:
    """A host that loads its models from disk and never requests a stop."""

    @property
    def stop_reason(self) -> str | None:
        """Reason of the stop request, or None if there is none."""
        return None

    def load(self, loader: Callable[..., Model], *arguments: object) -> Model:
        """Return the model of ``loader(*arguments)``, which the caller may train, adapt and wrap.

        The weights may be shared with other callers, so nobody may write to their tensors.
        """
        return loader(*arguments)

    def keep(self, name: str, value: object) -> None:
        """Keep an object in memory for a later stage. This host keeps nothing."""

    def take(self, name: str) -> object | None:
        """Return an object that an earlier stage has kept, and forget it; None if there is none.

        There may be none at any time: other stages ran in other processes, or memory was short.
        """
        return None

    def steps(self, iterations: Iterable[int]) -> Iterator[int]:
        """Yield the iterations until a stop is requested."""
        yield from iterations


ALONE = Host()
