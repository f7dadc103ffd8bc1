"""Identity of a run's model for Snakemake, and the model's defaults for settings that are null."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from editinfinity.evaluation.backbones import BACKBONES, backbone_folders
from editinfinity.planning import fingerprint
from editinfinity.planning.location import weight_files
from editinfinity.planning.variants import ALWAYS_NAMED, Variant
from editinfinity.presets import preset
from editinfinity.settings.groups import (
    FOUND,
    FOUND_SETTINGS,
    BenchmarkSettings,
    EvaluationSettings,
    FinishSettings,
    GuidanceSettings,
    InversionSettings,
    LoraSettings,
    MaskSettings,
    ModelSettings,
    WorkerSettings,
)
from editinfinity.settings.guidance import guidance_of, numbers_of

_NOT_IDENTIFYING = {
    *("cases", "data", "results", "slice", "overrides"),
    # model_identity covers the weight files, and results do not depend on where the model runs.
    *ModelSettings.settings().keys() - {"model", "attention_bias"},
    *WorkerSettings.settings(),
    "deterministic",
    # The name of a variant contains the effective values of these.
    *InversionSettings.settings(),
    *("use_concat_embedding", "use_embedding_iter", "use_lora", "use_lora_iter", *ALWAYS_NAMED),
    # Only some edits use these; ``drawing_identity`` adds them to theirs.
    *GuidanceSettings.settings().keys() - {"guidance"},
    *FOUND_SETTINGS,
    *("attention_scales", "precision"),
    # These are used only after drawing.
    *(*FinishSettings.settings(), *EvaluationSettings.settings(), *BenchmarkSettings.settings()),
}
"""Settings that are not part of every ``drawing_identity``: they do not affect every drawing, or
the identity of the model or the name of the variant covers them."""


_WITHOUT_BIAS = "attention_bias=0"
_IN_FP8 = "precision=fp8"


def model_identity(settings: Mapping[str, Any]) -> str:
    """Return a scalar that changes with the model, its weight files or how its layers are read.

    Args:
        settings: those of the run, or of a case, which may differ by ``attention_bias``.
    """
    name, folder = settings["model"], settings["model_dir"]
    parts = [name]
    if preset(name).weights is not None:
        files = weight_files(name, None if folder is None else Path(folder))
        parts.append(f"weights={fingerprint.of_files(files)}")
    if not settings["attention_bias"]:
        parts.append(_WITHOUT_BIAS)
    return " ".join(parts)


def attention_bias_of(identity: str) -> bool:
    """Return the ``attention_bias`` of the settings that :func:`model_identity` was given."""
    return _WITHOUT_BIAS not in identity.split()


def lora_model_identity(settings: Mapping[str, Any], model: str) -> str:
    """Return a scalar that changes with the model and the precision that LoRA is trained in.

    Args:
        settings: settings of a case.
        model: result of :func:`model_identity`; also the result with the default precision, so that
            what earlier versions trained stays valid.
    """
    return f"{model} {_IN_FP8}" if settings["precision"] == "fp8" else model


def precision_of(identity: str) -> str:
    """Return the ``precision`` of the settings that :func:`lora_model_identity` was given."""
    return "fp8" if _IN_FP8 in identity.split() else "auto"


def backbone_identity(settings: Mapping[str, Any]) -> str:
    """Return a scalar that changes with the weights of the models that metrics use.

    Raises:
        UserError: a setting names a folder that does not contain them.
    """
    parts = []
    for name, folder in backbone_folders(settings).items():
        files = [] if folder is None else BACKBONES[name].files_in(folder)
        parts.append(f"{name}={fingerprint.of_files(files) if files else 'none'}")
    return " ".join(parts)


def drawing_identity(settings: Mapping[str, Any], variant: Variant, model: str) -> str:
    """Return a hash of everything that a drawing depends on and that is not part of its name.

    Args:
        settings: settings of the edit.
        variant: the variant that is drawn.
        model: result of :func:`model_identity`.
    """
    values = {}
    for key in settings.keys() - _NOT_IDENTIFYING:
        value = variant.setting(key, settings)
        values[key] = effective(key, settings) if value is None else value
    values |= {key: variant.setting(key, settings) for key in numbers_of(guidance_of(settings))}
    if settings["mask_source"] in FOUND:
        values |= {key: settings[key] for key in FOUND_SETTINGS}
    # Added only where they differ from what earlier versions computed, whose metrics stay valid.
    if settings["attention_scales"] != MaskSettings.attention_scales:
        values["attention_scales"] = settings["attention_scales"]
    if (batch := embedding_batch_size(settings)) != values["batch_size"]:
        values["embedding_batch_size"] = batch
    if settings["precision"] != LoraSettings.precision:
        values["precision"] = settings["precision"]
    model = text_model_identity(settings, model)
    text = json.dumps([model, values], sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def effective(key: str, settings: Mapping[str, Any]) -> Any:
    """Return the value of a setting, or the model's default if it is null and the model has one.

    For ``batch_size`` that is LoRA's; :func:`embedding_batch_size` returns the text embedding's.
    """
    value = settings[key]
    if value is not None:
        return value
    model_preset = preset(settings["model"])
    return {
        "pixel_budget": model_preset.pixel_budget,
        "embedding_learning_rate": model_preset.training.embedding_learning_rate,
        "lora_learning_rate": model_preset.training.lora_learning_rate,
        "batch_size": model_preset.training.lora_batch_size,
    }.get(key)


def embedding_batch_size(settings: Mapping[str, Any]) -> int:
    """Return the setting ``batch_size``, or if it is null the model's for the text embedding."""
    return settings["batch_size"] or preset(settings["model"]).training.embedding_batch_size


def text_model_identity(settings: Mapping[str, Any], model: str) -> str:
    """Return a scalar that changes with the model and the precision of its text encoder.

    Args:
        settings: settings of the run.
        model: result of :func:`model_identity`; also the result with the default precision.
    """
    dtype = settings["text_encoder_dtype"]
    return model if dtype == "auto" else f"{model} text_encoder_dtype={dtype}"
