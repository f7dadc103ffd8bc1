"""Calls of stages that can be serialised as JSON and run in another process.

This module does not import torch, so a process that only forwards a call need not import what the
stage imports.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from editinfinity.settings.groups import GROUPS
from editinfinity.stages.host import Host, PauseFile

MODEL_STAGES: Mapping[str, str] = {
    "image_features": "extract_image_features",
    "text_features": "extract_text_features",
    "train_textembedding": "train_textembedding",
    "train_lora": "train_lora",
    "attention_map": "collect_attention",
    "prompt_map": "find_place",
    "edit": "edit",
    "rendering": "render_photograph",
    "metrics": "measure_edit",
}
"""Stages that run a model: module of ``editinfinity.stages`` → its function."""

_SETTINGS = {group.__name__: group for group in (*GROUPS, PauseFile)}
"""Dataclasses that are allowed as arguments, by class name."""


@dataclasses.dataclass(frozen=True)
class Call:
    """A call of one of ``MODEL_STAGES``. Arguments are paths, plain values and settings.

    Raises:
        ValueError: the stage does not exist.
    """

    stage: str
    arguments: Mapping[str, Any]

    def __post_init__(self) -> None:
        if self.stage not in MODEL_STAGES:
            raise ValueError(f"there is no stage {self.stage!r} that runs a model")

    def run(self, host: Host) -> None:
        """Run the stage in this process.

        Raises:
            UserError: raised by the stage.
            Stopped: the host requested a stop.
        """
        module = importlib.import_module(f"editinfinity.stages.{self.stage}")
        getattr(module, MODEL_STAGES[self.stage])(**self.arguments, host=host)

    def to_json(self) -> dict[str, Any]:
        """Return the call as a dictionary that can be serialised as JSON."""
        arguments = {name: _encode(value) for name, value in self.arguments.items()}
        return {"stage": self.stage, "arguments": arguments}

    @classmethod
    def from_json(cls, data: Any) -> Call:
        """Return the call that ``to_json`` serialised.

        Raises:
            ValueError: the data is not a call, or refers to an unknown stage or settings class.
        """
        try:
            arguments = {str(name): _decode(value) for name, value in data["arguments"].items()}
            return cls(data["stage"], arguments)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"this is not a call of a stage ({error})") from None


def _encode(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return {"path": str(value)}
    if isinstance(value, tuple):
        return {"tuple": [_encode(element) for element in value]}
    class_name = type(value).__name__
    if class_name in _SETTINGS:
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {class_name: {name: _encode(inner) for name, inner in fields.items()}}
    raise TypeError(f"{class_name} cannot be an argument of a stage")


def _decode(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    ((class_name, inner),) = value.items()
    if class_name == "path":
        return Path(inner)
    if class_name == "tuple":
        return tuple(_decode(element) for element in inner)
    return _SETTINGS[class_name](**{name: _decode(part) for name, part in inner.items()})
