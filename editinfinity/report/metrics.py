"""The metrics of a picture as the page shows them: what they are called and which way is better."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Metric:
    """How one metric is shown.

    Attributes:
        name: in files.
        label, unit, about: for people.
        higher: whether more is better.
        digits: behind the point.
    """

    name: str
    label: str
    unit: str
    about: str
    higher: bool
    digits: int


METRICS = (
    Metric("background_psnr", "Background PSNR", "dB", "outside the mask", True, 1),
    Metric("background_ssim", "Background SSIM", "", "outside the mask", True, 3),
    Metric("background_mse", "Background MSE", "", "outside the mask", False, 4),
    Metric("background_lpips", "Background LPIPS", "", "outside the mask", False, 3),
    Metric("clip_whole", "CLIP, whole", "", "picture and edit prompt", True, 1),
    Metric("clip_edited", "CLIP, edited", "", "edited region and edit prompt", True, 1),
    Metric("structure_distance", "Structure distance", "", "to the photograph", False, 4),
    Metric("image_reward", "ImageReward", "", "what people would prefer", True, 2),
    Metric("alignment", "Alignment", "", "this project's own, bundled model only", True, 2),
)
"""In the order they are shown; others that a file may hold follow under their own names."""


def read_metrics(picture: Path) -> tuple[dict[str, float | None], dict[str, str]]:
    """(name → value, name → why there is none) of a picture; empty where nobody computed any.

    Of a file that is damaged, whatever can be used is.
    """
    found: Any = None
    with suppress(OSError, ValueError, RecursionError):
        found = json.loads(picture.with_name(f"{picture.stem}.metrics.json").read_text("utf-8"))
    if not isinstance(found, dict):
        return {}, {}
    values = found.get("values")
    missing = found.get("missing")
    return (
        {str(name): _finite(value) for name, value in values.items()}
        if isinstance(values, dict)
        else {},
        {str(name): str(why) for name, why in missing.items()} if isinstance(missing, dict) else {},
    )


def described(names: Iterable[str]) -> list[dict[str, Any]]:
    """What the page needs to know of the metrics of these names, in the order to show them."""
    wanted = set(names)
    known = [metric for metric in METRICS if metric.name in wanted]
    others = sorted(wanted - {metric.name for metric in METRICS})
    unknown = [Metric(name, name, "", "", True, 3) for name in others]
    return [asdict(metric) for metric in (*known, *unknown)]


def _finite(value: Any) -> float | None:
    """A number, or None: regions may be empty, and a metric of them is no number."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return None
