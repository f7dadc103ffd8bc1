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

if TYPE_CHECKING:
    from editinfinity.editing.kernel import smoothing_kernel
    from editinfinity.errors import UserError
    from editinfinity.files.weights import (
        load_text_encoder,
        load_tokenizer,
        load_transformer,
    )
    from editinfinity.inverted import Inversion
    from editinfinity.models.tokenizer import Tokenizer
    from editinfinity.models.transformer import (
        Infinity,
        TextFeatures,
    )
    from editinfinity.pipeline import EditInfinityPipeline
    from editinfinity.presets import (
        PRESETS,
        Preset,
        preset,
    )
    from editinfinity.scales import (
        ScaleSchedule,
        nearest_ratio,
        schedule,
    )
    from editinfinity.stages.attention_map import collect_attention
    from editinfinity.stages.check import check_case
    from editinfinity.stages.edit import edit
    from editinfinity.stages.finish import finish
    from editinfinity.stages.image_features import extract_image_features
    from editinfinity.stages.jsonl import write_jsonl
    from editinfinity.stages.kernel import make_kernel
    from editinfinity.stages.settings import (
        LoraSettings,
        ModelSettings,
        SamplingSettings,
        TrainingSettings,
    )
    from editinfinity.stages.text_features import extract_text_features
    from editinfinity.stages.train_lora import train_lora
    from editinfinity.stages.train_textembedding import train_textembedding

__all__ = [
    "PRESETS",
    "EditInfinityPipeline",
    "Infinity",
    "Inversion",
    "LoraSettings",
    "ModelSettings",
    "Preset",
    "SamplingSettings",
    "ScaleSchedule",
    "TextFeatures",
    "Tokenizer",
    "TrainingSettings",
    "UserError",
    "__version__",
    "check_case",
    "collect_attention",
    "edit",
    "extract_image_features",
    "extract_text_features",
    "finish",
    "load_text_encoder",
    "load_tokenizer",
    "load_transformer",
    "make_kernel",
    "nearest_ratio",
    "preset",
    "schedule",
    "smoothing_kernel",
    "train_lora",
    "train_textembedding",
    "write_jsonl",
]

_HOMES = {
    "smoothing_kernel": "editing.kernel",
    "UserError": "errors",
    "load_text_encoder": "files.weights",
    "load_tokenizer": "files.weights",
    "load_transformer": "files.weights",
    "Tokenizer": "models.tokenizer",
    "Infinity": "models.transformer",
    "TextFeatures": "models.transformer",
    "EditInfinityPipeline": "pipeline",
    "Inversion": "inverted",
    "PRESETS": "presets",
    "Preset": "presets",
    "preset": "presets",
    "ScaleSchedule": "scales",
    "nearest_ratio": "scales",
    "schedule": "scales",
    "LoraSettings": "settings.groups",
    "ModelSettings": "settings.groups",
    "SamplingSettings": "settings.groups",
    "TrainingSettings": "settings.groups",
    "collect_attention": "stages.attention_map",
    "check_case": "stages.check",
    "edit": "stages.edit",
    "finish": "stages.finish",
    "extract_image_features": "stages.image_features",
    "write_jsonl": "stages.jsonl",
    "make_kernel": "stages.kernel",
    "extract_text_features": "stages.text_features",
    "train_lora": "stages.train_lora",
    "train_textembedding": "stages.train_textembedding",
}


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
