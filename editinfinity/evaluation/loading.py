"""The scorer of a machine: every metric whose weights are there, and a line for each other one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from editinfinity.evaluation.backbones import BACKBONES
from editinfinity.evaluation.clip import ClipMeasure, load_clip
from editinfinity.evaluation.image_reward import RewardMeasure, load_image_reward
from editinfinity.evaluation.lpips import LpipsMeasure, load_lpips
from editinfinity.evaluation.scorer import Measure, Scorer
from editinfinity.evaluation.structure import StructureMeasure, load_dino
from editinfinity.evaluation.world.alignment import NAME, OTHER_MODEL, Alignment, AlignmentMeasure
from editinfinity.evaluation.world.judge import WEIGHTS, load_judge

Load = Callable[..., Any]


def read_anew(loader: Callable[..., Any], *arguments: object) -> Any:
    """What ``loader(*arguments)`` gives."""
    return loader(*arguments)


def load_scorer(
    folders: Mapping[str, Path | None], device: torch.device, model: str, load: Load = read_anew
) -> Scorer:
    """A scorer of what is there.

    Args:
        folders: backbone → folder of its weights, None where there are none
            (``backbones.found_backbones``).
        device: where the models run.
        model: preset that made the pictures: alignment is of the bundled one's world.
        load: gives a model as ``loader(*arguments)`` does, perhaps one loaded before.

    Raises:
        UserError: weights cannot be read.
    """
    measures: list[Measure] = []
    missing: dict[str, str] = {}
    for name, backbone in BACKBONES.items():
        folder = folders.get(name)
        if folder is None:
            missing.update(dict.fromkeys(backbone.metrics, backbone.absence))
        else:
            measures.append(_measure(name, folder, device, load))
    if model == "bundled":
        judge = load(load_judge, WEIGHTS, device)
        measures.append(AlignmentMeasure(Alignment(judge, device)))
    else:
        missing[NAME] = OTHER_MODEL
    return Scorer(measures, missing)


def _measure(name: str, folder: Path, device: torch.device, load: Load) -> Measure:
    match name:
        case "lpips":
            return LpipsMeasure(load(load_lpips, folder, device), device)
        case "clip":
            return ClipMeasure(load(load_clip, folder, device))
        case "dino":
            return StructureMeasure(load(load_dino, folder, device))
        case _:
            return RewardMeasure(load(load_image_reward, folder, device))
