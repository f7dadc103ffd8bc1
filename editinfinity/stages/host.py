"""The process a stage runs in: where its models come from, and whether it may go on.

Stages are handed one. ``ALONE`` is a process that reads what it needs and cannot be asked to stop;
a workflow's job listens to signals, and a warm worker has the models at hand already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

Model = TypeVar("Model")


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


class Host:
    """A process that reads its models from disk and is never asked to stop."""

    @property
    def asked(self) -> str | None:
        """Why to stop, once somebody has asked."""
        return None

    def load(self, loader: Callable[..., Model], *arguments: object) -> Model:
        """What ``loader(*arguments)`` gives, the caller's to train, adapt and wrap.

        Its weights may be shared: nobody may write into the tensors of a loaded model.
        """
        return loader(*arguments)

    def steps(self, iterations: Iterable[int]) -> Iterator[int]:
        """The iterations, for as long as nobody asks to stop."""
        yield from iterations


ALONE = Host()
