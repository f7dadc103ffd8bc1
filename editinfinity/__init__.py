"""Edit photographs by text: inversion with Infinity, as stages of a Snakemake workflow.

The parts most programs want are attributes of the package, loaded when first asked for, so that
``import editinfinity`` costs nothing and needs no torch::

    from editinfinity import EditInfinityPipeline, Infinity, Tokenizer, preset, schedule

The stages are functions of ``editinfinity.stages`` (also exported here), the models modules of
``editinfinity.models``; see docs/architecture.md for the way data takes through them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the same, as type checkers and editors read it
    from editinfinity.editing.kernel import smoothing_kernel as smoothing_kernel
    from editinfinity.errors import UserError as UserError
    from editinfinity.files.weights import load_text_encoder as load_text_encoder
    from editinfinity.files.weights import load_tokenizer as load_tokenizer
    from editinfinity.files.weights import load_transformer as load_transformer
    from editinfinity.inverted import Inversion as Inversion
    from editinfinity.models.tokenizer import Tokenizer as Tokenizer
    from editinfinity.models.transformer import Infinity as Infinity
    from editinfinity.models.transformer import TextFeatures as TextFeatures
    from editinfinity.pipeline import EditInfinityPipeline as EditInfinityPipeline
    from editinfinity.presets import PRESETS as PRESETS
    from editinfinity.presets import Preset as Preset
    from editinfinity.presets import preset as preset
    from editinfinity.scales import ScaleSchedule as ScaleSchedule
    from editinfinity.scales import nearest_ratio as nearest_ratio
    from editinfinity.scales import schedule as schedule
    from editinfinity.settings.groups import LoraSettings as LoraSettings
    from editinfinity.settings.groups import ModelSettings as ModelSettings
    from editinfinity.settings.groups import SamplingSettings as SamplingSettings
    from editinfinity.settings.groups import TrainingSettings as TrainingSettings
    from editinfinity.stages.attention_map import collect_attention as collect_attention
    from editinfinity.stages.check import check_case as check_case
    from editinfinity.stages.edit import edit as edit
    from editinfinity.stages.finish import finish as finish
    from editinfinity.stages.image_features import extract_image_features as extract_image_features
    from editinfinity.stages.jsonl import write_jsonl as write_jsonl
    from editinfinity.stages.kernel import make_kernel as make_kernel
    from editinfinity.stages.text_features import extract_text_features as extract_text_features
    from editinfinity.stages.train_lora import train_lora as train_lora
    from editinfinity.stages.train_textembedding import train_textembedding as train_textembedding

_NAMES = {
    "editing.kernel": ("smoothing_kernel",),
    "errors": ("UserError",),
    "files.weights": ("load_text_encoder", "load_tokenizer", "load_transformer"),
    "inverted": ("Inversion",),
    "models.tokenizer": ("Tokenizer",),
    "models.transformer": ("Infinity", "TextFeatures"),
    "pipeline": ("EditInfinityPipeline",),
    "presets": ("PRESETS", "Preset", "preset"),
    "scales": ("ScaleSchedule", "nearest_ratio", "schedule"),
    "stages.attention_map": ("collect_attention",),
    "stages.check": ("check_case",),
    "stages.edit": ("edit",),
    "stages.finish": ("finish",),
    "stages.image_features": ("extract_image_features",),
    "stages.jsonl": ("write_jsonl",),
    "stages.kernel": ("make_kernel",),
    "settings.groups": ("LoraSettings", "ModelSettings", "SamplingSettings", "TrainingSettings"),
    "stages.text_features": ("extract_text_features",),
    "stages.train_lora": ("train_lora",),
    "stages.train_textembedding": ("train_textembedding",),
}
"""Module → what of it is an attribute of the package."""

_HOMES = {name: module for module, names in _NAMES.items() for name in names}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("editinfinity")
        except PackageNotFoundError:  # run from a folder of sources
            return "0+uninstalled"
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
