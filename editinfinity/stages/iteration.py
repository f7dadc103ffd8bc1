"""An iteration of a training, as a line of its log that can be read back.

The log is all that a job, its worker and whoever watches have in common, on one machine or many.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_LINE = re.compile(
    r"(?P<stage>\w+): iteration (?P<number>\d+) of (?P<last>\d+), "
    r"loss (?P<loss>\S+), (?P<rate>\d+\.\d+) iterations a second$"
)


@dataclass(frozen=True)
class Iteration:
    """One iteration that is done.

    Attributes:
        stage: its name.
        number: of the iteration, counted from 1.
        last: number of the last one to be run.
        loss: of it.
        rate: iterations a second since the job began.
    """

    stage: str
    number: int
    last: int
    loss: float
    rate: float

    def __str__(self) -> str:
        return (
            f"{self.stage}: iteration {self.number} of {self.last}, "
            f"loss {self.loss:.4f}, {self.rate:.2f} iterations a second"
        )

    @classmethod
    def parse(cls, line: str) -> Iteration | None:
        """What a line of a log tells, whatever stands before it; None for any other line."""
        match = _LINE.search(line)
        if match is None:
            return None
        try:
            loss = float(match["loss"])
        except ValueError:
            return None
        number, last = int(match["number"]), int(match["last"])
        return cls(match["stage"], number, last, loss, float(match["rate"]))
