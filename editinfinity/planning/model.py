"""What a run's model stands for: its identity for Snakemake, and the defaults behind nulls."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from editinfinity.evaluation.backbones import BACKBONES, found_backbones
from editinfinity.planning import fingerprint
from editinfinity.planning.location import weight_files
from editinfinity.planning.variants import NAMED, Variant
from editinfinity.presets import preset
from editinfinity.settings.groups import (
    BenchmarkSettings,
    EvaluationSettings,
    FinishSettings,
    InversionSettings,
    ModelSettings,
    WorkerSettings,
)

_DRAWS_NOTHING = {
    *("cases", "data", "results", "slice", "overrides"),
    # The identity of the model is of its files; its numbers are the same wherever it runs.
    *ModelSettings.settings().keys() - {"model", "attention_bias"},
    *WorkerSettings.settings(),
    "deterministic",
    # A variant's name has what these come to.
    *InversionSettings.settings(),
    *("use_concat_embedding", "use_embedding_iter", "use_lora", "use_lora_iter", *NAMED),
    # What comes after the drawing.
    *(*FinishSettings.settings(), *EvaluationSettings.settings(), *BenchmarkSettings.settings()),
}
"""Settings by which one drawing of a name does not differ from another."""


def model_identity(settings: Mapping[str, Any]) -> str:
    """One scalar that changes with the model, its weight files or how its layers are read."""
    name, folder = settings["model"], settings["model_dir"]
    parts = [name]
    if preset(name).weights is not None:
        files = weight_files(name, None if folder is None else Path(folder))
        parts.append(f"weights={fingerprint.of_files(files)}")
    if not settings["attention_bias"]:
        parts.append("attention_bias=0")
    return " ".join(parts)


def backbone_identity(settings: Mapping[str, Any]) -> str:
    """One scalar that changes with the weights that metrics look through.

    Raises:
        UserError: a setting names a folder without them.
    """
    parts = []
    for name, folder in found_backbones(settings).items():
        files = [] if folder is None else BACKBONES[name].files_in(folder)
        parts.append(f"{name}={fingerprint.of_files(files) if files else 'none'}")
    return " ".join(parts)


def drawing_identity(settings: Mapping[str, Any], variant: Variant, model: str) -> str:
    """One scalar that changes with whatever a drawing depends on and its name does not tell.

    Args:
        settings: of the edit.
        variant: which drawing.
        model: of :func:`model_identity`.
    """
    told = {}
    for key in settings.keys() - _DRAWS_NOTHING:
        value = variant.setting(key, settings)
        told[key] = effective(key, settings) if value is None else value
    text = json.dumps([model, told], sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def effective(key: str, settings: Mapping[str, Any]) -> Any:
    """A setting, with the model's own value where it is null and the model has one."""
    value = settings[key]
    if value is not None:
        return value
    chosen = preset(settings["model"])
    return {
        "pixel_budget": chosen.pixel_budget,
        "embedding_learning_rate": chosen.training.embedding_learning_rate,
        "lora_learning_rate": chosen.training.lora_learning_rate,
        "batch_size": chosen.training.batch_size,
    }.get(key)
