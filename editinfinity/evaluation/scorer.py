"""All metrics of a picture, through the models that are there."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from editinfinity.evaluation.background import background_metrics
from editinfinity.evaluation.canvas import Mask, Pixels, with_border
from editinfinity.evaluation.names import NAMES
from editinfinity.evaluation.record import MetricResults


@dataclass(frozen=True)
class Edited:
    """A picture before and after, on one canvas.

    Attributes:
        source, result: the pictures, of one size.
        mask: where it was to change; None where all of it may.
        prompt: what the result should show, perhaps with the benchmark's brackets.
    """

    source: Pixels
    result: Pixels
    mask: Mask | None
    prompt: str

    @property
    def region(self) -> Mask:
        """The evaluator's mask: border lines edited too, and everything where there is none."""
        if self.mask is None:
            return np.ones(self.result.shape[:2], dtype=np.bool_)
        return with_border(self.mask)

    @property
    def words(self) -> str:
        """The prompt without the brackets by which the benchmark marks changed words."""
        return self.prompt.replace("[", "").replace("]", "")


Measure = Callable[[Edited], Mapping[str, float]]
"""Metric → number of a picture, nan where the region it is about is empty.

May raise ``NotMeasuredError``, having nothing to say of this picture.
"""


class NotMeasuredError(Exception):
    """Why a metric has nothing to say, in one line; ``names`` are the metrics."""

    def __init__(self, names: Sequence[str], line: str) -> None:
        self.names = tuple(names)
        super().__init__(line)


class Scorer:
    """Measures pictures.

    Args:
        measures: models that are there.
        missing: metric → why there is no model for it.
    """

    def __init__(self, measures: Sequence[Measure], missing: Mapping[str, str]) -> None:
        self.measures, self.missing = tuple(measures), dict(missing)

    def measure(self, edited: Edited) -> MetricResults:
        """All metrics of a picture: a number each, or a line that says why not.

        Raises:
            ValueError: the pictures and the mask differ in size.
        """
        values = background_metrics(edited.source, edited.result, edited.region)
        missing = dict(self.missing)
        for measure in self.measures:
            try:
                values.update(measure(edited))
            except NotMeasuredError as reason:
                missing.update(dict.fromkeys(reason.names, str(reason)))
        order = [name for name in NAMES if name in values]
        return MetricResults({name: values[name] for name in order}, missing)


EMPTY = math.nan
"""The number of a metric whose region is empty."""
