"""Load a scorer with all metrics whose weights are available on this machine."""

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
"""Backbone → loader. The loaded model's ``measure`` computes the backbone's metrics."""


def load_scorer(
    folders: Mapping[str, Path | None], device: torch.device, model: str, load: Load = call
) -> Scorer:
    """Return a scorer with all metrics whose weights are available, and reasons for the others.

    Args:
        folders: backbone → folder of its weights, None if they are not available
            (``backbones.backbone_folders``).
        device: device that the models run on.
        model: preset that made the pictures. Alignment is only defined for the bundled model.
        load: returns what ``loader(*arguments)`` returns, possibly from a cache.

    Raises:
        UserError: if weights cannot be read.
    """
    measures: list[Measure] = []
    missing: dict[str, str] = {}
    for name, backbone in BACKBONES.items():
        folder = folders.get(name)
        if folder is None:
            missing.update(dict.fromkeys(backbone.metrics, backbone.missing_message))
        else:
            measures.append(load(_LOADERS[name], folder, device).measure)
    if model == "bundled":
        judge = load(load_judge, WEIGHTS, device)
        measures.append(Alignment(judge, device).measure)
    else:
        missing[NAME] = OTHER_MODEL
    return Scorer(measures, missing)
