"""Compute all metrics of a picture whose models are available."""

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
class EditedPicture:
    """A picture before and after an edit, on the same canvas.

    Attributes:
        source, result: the pictures before and after, of the same size.
        mask: True where the picture may change; None if all of it may.
        prompt: the edit prompt, possibly with the benchmark's brackets around changed words.
    """

    source: Pixels
    result: Pixels
    mask: Mask | None
    prompt: str

    @property
    def region(self) -> Mask:
        """The mask as the evaluator uses it: with border lines, or all True if there is no mask."""
        if self.mask is None:
            return np.ones(self.result.shape[:2], dtype=np.bool_)
        return with_border(self.mask)

    @property
    def plain_prompt(self) -> str:
        """The prompt without the brackets with which the benchmark marks changed words."""
        return self.prompt.replace("[", "").replace("]", "")


Measure = Callable[[EditedPicture], Mapping[str, float]]
"""Returns metric → value for a picture; nan if the region that it measures is empty.

May raise ``NotMeasuredError`` if the metric does not apply to the picture.
"""


class NotMeasuredError(Exception):
    """Raised if the metrics ``names`` do not apply to a picture. The message says why."""

    def __init__(self, names: Sequence[str], reason: str) -> None:
        self.names = tuple(names)
        super().__init__(reason)


class Scorer:
    """Computes the metrics of pictures.

    Args:
        measures: functions that compute the metrics whose models are available.
        missing: metric → why its model is not available.
    """

    def __init__(self, measures: Sequence[Measure], missing: Mapping[str, str]) -> None:
        self.measures, self.missing = tuple(measures), dict(missing)

    def measure(self, edited: EditedPicture) -> MetricResults:
        """Compute all metrics of a picture: for each a value, or the reason why there is none.

        Raises:
            ValueError: if the pictures and the mask differ in size.
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
"""Value of a metric whose region is empty."""
