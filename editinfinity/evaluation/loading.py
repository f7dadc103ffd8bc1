"""The scorer of a machine: every metric whose weights are there, and a line for each other one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import call
from pathlib import Path
from typing import Any

import torch

from editinfinity.evaluation.backbones import BACKBONES
from editinfinity.evaluation.clip import Clip
from editinfinity.evaluation.image_reward import ImageReward
from editinfinity.evaluation.lpips import load_lpips
from editinfinity.evaluation.scorer import Measure, Scorer
from editinfinity.evaluation.structure import Dino
from editinfinity.evaluation.world.alignment import NAME, OTHER_MODEL, Alignment
from editinfinity.evaluation.world.judge import WEIGHTS, load_judge

Load = Callable[..., Any]


_LOADERS: dict[str, Callable[[Path, torch.device], Any]] = {
    "lpips": load_lpips,
    "clip": Clip,
    "dino": Dino,
    "image_reward": ImageReward,
}
"""Backbone → what reads it of its folder; its ``measure`` gives its metrics."""


def load_scorer(
    folders: Mapping[str, Path | None], device: torch.device, model: str, load: Load = call
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
            measures.append(load(_LOADERS[name], folder, device).measure)
    if model == "bundled":
        judge = load(load_judge, WEIGHTS, device)
        measures.append(Alignment(judge, device).measure)
    else:
        missing[NAME] = OTHER_MODEL
    return Scorer(measures, missing)
