"""Checkpoints of the two training stages: soft prompts, LoRA adapters and optimizer states.

Adapters use PEFT's format, but PEFT's own writer is not used: it leaves sets unsorted and adds a
model card, so that two identical runs would give different files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from editinfinity.errors import UserError, first_sentence
from editinfinity.files.atomic import atomic_path, write_json
from editinfinity.files.features import require_preset
from editinfinity.files.input_files import require_file
from editinfinity.files.state_dicts import read_state_dict
from editinfinity.files.tensors import (
    MAX_FILE_BYTES,
    load_tensors,
    require_finite,
    save_tensors,
    whole_number,
)

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel

EMBEDDING_KIND = "text_embedding"
STATE_KIND = "optimizer_state"

ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_STATE = "state.safetensors"

_MAX_CONFIG_BYTES = 2**20
_IMPORTING_KEYS = ("megatron_config", "eva_config", "corda_config", "loftq_config")
"""Keys of an adapter's configuration that make PEFT import further modules."""


@dataclass(frozen=True)
class SoftPrompt:
    """A soft prompt: N learned vectors, (N, Ct5) fp32, that follow the prompt's text features.

    Attributes:
        vectors: the vectors.
        iteration: number of updates that were made.
        preset: name of the preset of the model they were trained for.
    """

    vectors: Tensor
    iteration: int
    preset: str

    def save(self, path: Path) -> None:
        """Write the checkpoint."""
        metadata = {"kind": EMBEDDING_KIND, "iteration": self.iteration, "preset": self.preset}
        save_tensors(path, {"embedding": self.vectors}, metadata)

    @classmethod
    def load(cls, path: Path, preset: str, width: int) -> SoftPrompt:
        """Load a checkpoint for a preset whose text features have ``width`` channels.

        Raises:
            UserError: the file is missing, damaged, or belongs to another model.
        """
        tensors, metadata = load_tensors(path, EMBEDDING_KIND, ["embedding"])
        require_preset(metadata.get("preset"), preset, path)
        vectors = tensors["embedding"]
        if vectors.ndim != 2 or vectors.shape[1] != width:
            raise UserError(
                f"{path}: has vectors of shape {tuple(vectors.shape)}, but the model needs width "
                f"{width}; delete it and run again"
            )
        return cls(vectors.float(), whole_number(metadata, "iteration", path), preset)


@dataclass(frozen=True)
class OptimizerState:
    """AdamW's state after ``iteration`` updates.

    Attributes:
        parameters: for each parameter, in the optimizer's order: ``step``, ``exp_avg`` and
            ``exp_avg_sq``.
        iteration: number of updates.
        preset: name of the preset of the model.
    """

    parameters: list[dict[str, Tensor]]
    iteration: int
    preset: str

    def save(self, path: Path) -> None:
        """Write the state; the tensors are named by the parameter's index: ``00012.exp_avg``."""
        tensors = {
            f"{index:05d}.{name}": tensor
            for index, values in enumerate(self.parameters)
            for name, tensor in values.items()
        }
        metadata = {"kind": STATE_KIND, "iteration": self.iteration, "preset": self.preset}
        save_tensors(path, tensors, metadata)

    @classmethod
    def load(cls, path: Path, preset: str, shapes: list[torch.Size]) -> OptimizerState:
        """Load the state for parameters with these shapes.

        Raises:
            UserError: the file is missing, damaged, or belongs to other parameters.
        """
        tensors, metadata = load_tensors(path, STATE_KIND)
        require_preset(metadata.get("preset"), preset, path)
        parameters: list[dict[str, Tensor]] = [{} for _ in shapes]
        for key, tensor in tensors.items():
            index, _, name = key.partition(".")
            if not index.isdigit() or int(index) >= len(shapes):
                break
            parameters[int(index)][name] = tensor
        fits = len(tensors) == 3 * len(shapes) and all(
            values.keys() == {"step", "exp_avg", "exp_avg_sq"} and values["exp_avg"].shape == shape
            for values, shape in zip(parameters, shapes, strict=True)
        )
        if not fits:
            raise UserError(f"{path}: is for other parameters; delete it and run again")
        return cls(parameters, whole_number(metadata, "iteration", path), preset)


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter in PEFT's format, separate from the model it adapts.

    Attributes:
        weights: PEFT's parameter names → tensors on the CPU.
        config: the content of ``adapter_config.json``.
    """

    weights: Mapping[str, Tensor]
    config: Mapping[str, Any]

    @classmethod
    def of(cls, model: nn.Module) -> Adapter:
        """Return a copy of the adapter ``default`` of a ``PeftModel``."""
        from peft import get_peft_model_state_dict

        weights = get_peft_model_state_dict(model)
        ready = {name: tensor.detach().cpu().clone() for name, tensor in weights.items()}
        config: PeftConfig = model.peft_config["default"]  # type: ignore[union-attr,index,operator,assignment]
        return cls.with_config(ready, config)

    @classmethod
    def with_config(cls, weights: Mapping[str, Tensor], config: PeftConfig) -> Adapter:
        """Return the adapter of these weights and PEFT's configuration."""
        values = {
            **config.to_dict(),
            "inference_mode": True,
            "base_model_name_or_path": None,
        }
        # The round trip through JSON turns string enums into strings and sets into sorted lists.
        return cls(weights, json.loads(json.dumps(values, default=sorted)))

    def save(self, folder: Path) -> None:
        """Write the adapter to a folder, in a form that ``PeftModel.from_pretrained`` can load."""
        with atomic_path(folder / ADAPTER_WEIGHTS) as temporary:
            ready = {name: tensor.contiguous() for name, tensor in self.weights.items()}
            save_file(ready, temporary, metadata={"format": "pt"})
        write_json(folder / ADAPTER_CONFIG, self.config)

    @classmethod
    def load(cls, folder: Path) -> Adapter:
        """Load an adapter written by ``save``, or any other LoRA adapter in PEFT's format.

        Raises:
            UserError: a file is missing or damaged, or holds another kind of adapter.
        """
        return cls(_read_adapter(folder), _read_config(folder / ADAPTER_CONFIG))

    def apply_to(
        self, model: nn.Module, device: torch.device, name: Path | str = "adapter"
    ) -> PeftModel:
        """Apply the adapter to a model.

        Args:
            model: the transformer; its layers stay wrapped in place until ``remove_adapter``.
            device: the model's device.
            name: the adapter's name, for messages.

        Returns:
            The ``PeftModel``, frozen and in ``eval`` mode.

        Raises:
            UserError: the adapter belongs to another model, or its configuration does not match
                its weights.
        """
        from peft import LoraConfig, get_peft_model, set_peft_model_state_dict

        # Some kinds of initialisation are slow or change the base weights, a task type makes PEFT
        # expect a model class for that task, and auto_mapping names a class to import (PEFT writes
        # it itself). None of them is needed for trained weights.
        overrides = {"init_lora_weights": True, "task_type": None, "auto_mapping": None}
        try:
            config = LoraConfig.from_peft_type(**{**self.config, **overrides})
            adapted = get_peft_model(model, config)  # type: ignore[arg-type]
            _require_same_shapes(adapted, self.weights)
            set_peft_model_state_dict(adapted, dict(self.weights))
            return adapted.to(device).eval().requires_grad_(False)
        except BaseException as error:  # PEFT passes on any exception of its components
            remove_adapter(model)
            if isinstance(error, torch.OutOfMemoryError) or not isinstance(error, Exception):
                raise  # a full GPU or an interrupt, for which the adapter is not to blame
            reason = first_sentence(error)
            raise UserError(
                f"{name}: contains no adapter for this model ({reason}); delete it and run again"
            ) from None


def remove_adapter(model: nn.Module) -> None:
    """Unwrap a model's layers, however many of them PEFT has wrapped; there may be none.

    Unlike PEFT's ``unload``, it ends what an interrupt has left half done, and where no adapter is
    used, nobody waits for PEFT to be imported.
    """
    wrapped = [name for name, layer in model.named_modules() if hasattr(layer, "base_layer")]
    for name in wrapped:
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, model.get_submodule(name).base_layer)
    if hasattr(model, "peft_config"):
        del model.peft_config


def _read_adapter(folder: Path) -> dict[str, Tensor]:
    """Load an adapter's weights and check that all of them are finite."""
    path = folder / ADAPTER_WEIGHTS
    require_file(path, MAX_FILE_BYTES, "train the adapter first")
    weights = read_state_dict([path])
    require_finite(weights, path, "delete it and run again")
    return weights


def _read_config(path: Path) -> dict[str, Any]:
    """Load a LoRA adapter's configuration; NaN and infinity are refused.

    Raises:
        UserError: the file is missing or damaged, describes another kind of adapter, or would
            make PEFT import other modules.
    """
    require_file(path, _MAX_CONFIG_BYTES, "train the adapter first")
    try:
        config: dict[str, Any] = json.loads(path.read_bytes(), parse_constant=_refuse_constant)
        is_lora = config["peft_type"] == "LORA"
        importing = [key for key in _IMPORTING_KEYS if config.get(key)]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise UserError(f"{path}: is not a LoRA configuration; delete it and run again") from None
    if importing or not is_lora:
        key = importing[0] if importing else "peft_type"
        raise UserError(
            f"{path}: {key} {config[key]!r:.60} is unsupported; delete it and run again"
        )
    return config


def _refuse_constant(text: str) -> float:
    raise ValueError(text)


def _require_same_shapes(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Check that weights have the names and shapes of the model's adapter.

    PEFT only warns about unknown names, and images would then be generated without them.

    Raises:
        ValueError: a name or a shape differs.
    """
    from peft import get_peft_model_state_dict

    expected = get_peft_model_state_dict(model)
    if weights.keys() != expected.keys():
        raise ValueError("it adapts other layers")
    for name, tensor in weights.items():
        if tensor.shape != expected[name].shape:
            actual, fitting = tuple(tensor.shape), tuple(expected[name].shape)
            raise ValueError(f"{name} has shape {actual}, not {fitting}")


def restore_adapter(folder: Path, model: nn.Module) -> None:
    """Load the weights of an earlier checkpoint into a newly wrapped PEFT model.

    Raises:
        UserError: the file is missing, damaged, or belongs to another adapter.
    """
    from peft import set_peft_model_state_dict

    path, weights = folder / ADAPTER_WEIGHTS, _read_adapter(folder)
    try:
        _require_same_shapes(model, weights)
    except ValueError as error:
        raise UserError(
            f"{path}: does not fit the adapter in training ({error}); delete it and run again"
        ) from None
    set_peft_model_state_dict(model, weights)


def adapter_iteration(folder: Path) -> int | None:
    """Return how many updates an adapter was trained for.

    None if it has no optimizer state, as is the case for adapters made by other tools.
    """
    path = folder / ADAPTER_STATE
    if not path.is_file():
        return None
    return whole_number(load_tensors(path, STATE_KIND)[1], "iteration", path)
