"""Read what the original EditInfinity has learned of a photograph, as this project's checkpoints.

A finished folder of the original contains:

- ``trained_language_style_embedding/embedding_it9.pth``: a tensor (1, 512, Ct5) whose rows 0 to 19
  are the soft prompt;
- ``lora_weight/lora_weight_50iter.pt``: a dictionary of the tensors of LoRA, whose names contain
  the released ones of the layers (``block_chunks.i.module.j.ffn.fc1.lora_A``). They are flat, as
  FSDP keeps them; A is (r, inputs), B (outputs, r);
- ``weight_tensor/weighted_tensor.pt``: the blend mask, (64, 64), where 1 keeps the photograph.

The original saves before it makes the update that a name counts: ``it9``, counted from 0, has seen
9 updates, and ``50iter``, counted from 1, has seen 49. It trains both without the q and v biases
(``attention_bias: 0``). Its files contain neither the model's name nor rank and alpha.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from editinfinity.errors import UserError
from editinfinity.files.checkpoints import Adapter, SoftPrompt
from editinfinity.files.loading import build_on_meta
from editinfinity.files.state_dicts import unpickle
from editinfinity.files.tensors import require_finite
from editinfinity.inversion.lora import TARGET_MODULES, lora_config
from editinfinity.models.released import released_transformer_key
from editinfinity.models.transformer import Infinity
from editinfinity.names import printable
from editinfinity.presets import Preset
from editinfinity.prompts import SOFT_PROMPT_LENGTH
from editinfinity.settings.groups import LoraSettings

_BLEND = Path("weight_tensor", "weighted_tensor.pt")
_BLEND_SHAPE = (64, 64)
_AGAIN = "get the file again"
_OTHER_MODEL = "set model to the one that it was trained with"


@dataclass(frozen=True)
class TrainedFiles:
    """The files of one training in a folder of the original.

    Attributes:
        folder: name of the folder that contains them.
        pattern: their names, with a number.
        example: such a name, for messages.
        ahead: by how much the number is ahead of the updates that the file has seen.
    """

    folder: str
    pattern: re.Pattern[str]
    example: str
    ahead: int

    def find(self, folder: Path) -> list[Path]:
        """Return the files in a folder, those with fewer updates first."""
        files = folder.iterdir() if folder.is_dir() else []
        named = [path for path in files if self.pattern.fullmatch(path.name)]
        return sorted(named, key=lambda path: (self._number(path), path.name))

    def updates(self, path: Path) -> int:
        """Return how many updates a file has seen.

        Raises:
            UserError: its name does not say that, or it has seen none.
        """
        if not self.pattern.fullmatch(path.name):
            raise UserError(
                f"{path}: its name does not say the iteration; name it as the original does, "
                f"{self.example}"
            )
        updates = self._number(path) - self.ahead
        if updates < 1:
            raise UserError(f"{path}: was saved before the first update; give a later one")
        return updates

    def _number(self, path: Path) -> int:
        match = self.pattern.fullmatch(path.name)
        return int(match[1]) if match else 0


EMBEDDINGS = TrainedFiles(
    "trained_language_style_embedding",
    re.compile(r"embedding_it(\d{1,5})\.pth"),
    "embedding_it9.pth",
    ahead=0,
)
ADAPTERS = TrainedFiles(
    "lora_weight", re.compile(r"lora_weight_(\d{1,5})iter\.pt"), "lora_weight_50iter.pt", ahead=1
)


@dataclass(frozen=True)
class Training:
    """What the original has learned of a photograph.

    Attributes:
        soft_prompts: file → soft prompt, those of fewer updates first.
        adapters: file → (updates, adapter), those of fewer updates first.
        blend: the blend mask, (64, 64) fp32, where 1 keeps the photograph; None for none.
    """

    soft_prompts: Mapping[Path, SoftPrompt]
    adapters: Mapping[Path, tuple[int, Adapter]]
    blend: NDArray[np.float32] | None

    @property
    def embedding_iteration(self) -> int:
        """Updates of the last soft prompt, which the adapters were trained with; 0 for none."""
        return max((prompt.iteration for prompt in self.soft_prompts.values()), default=0)

    @property
    def adapter_iteration(self) -> int:
        """Updates of the last adapter; 0 for none."""
        return max((updates for updates, _ in self.adapters.values()), default=0)

    def settings(self) -> dict[str, int | str]:
        """Return the settings of a case that uses it, and trains nothing."""
        embedding, adapter = self.embedding_iteration, self.adapter_iteration
        values: dict[str, int | str] = {"method": "inversion", "attention_bias": 0}
        values |= {"train_textembedding": 0, "train_lora": 0}
        values |= dict.fromkeys(("use_textembedding", "use_concat_embedding"), int(embedding > 0))
        if embedding:
            values |= {"use_textembedding_iter": embedding, "use_embedding_iter": embedding}
        values["use_lora"] = int(adapter > 0)
        return values | ({"use_lora_iter": adapter} if adapter else {})


@dataclass(frozen=True)
class TrainingFiles:
    """The files of a training of the original.

    Attributes:
        embeddings, adapters: text embeddings and LoRAs, those of fewer updates first.
        blend: the blend mask, or None.
    """

    embeddings: Sequence[Path]
    adapters: Sequence[Path]
    blend: Path | None

    @classmethod
    def find(
        cls, folder: Path, embedding: Path | None, lora: Path | None, blend: Path | None
    ) -> TrainingFiles:
        """Find the files in a case folder of the original.

        Args:
            folder: the folder.
            embedding, lora, blend: files to take instead; ``lora`` may be a folder of several.

        Raises:
            UserError: there is neither a text embedding nor a LoRA, or none in ``lora``.
        """
        if lora is not None and not lora.is_dir():
            loras = [lora]
        elif not (loras := ADAPTERS.find(lora or folder / ADAPTERS.folder)) and lora:
            raise UserError(f"{lora}: contains no LoRA, such as {ADAPTERS.example}; give its file")
        found = cls(
            [embedding] if embedding else EMBEDDINGS.find(folder / EMBEDDINGS.folder),
            loras,
            blend or (folder / _BLEND if (folder / _BLEND).exists() else None),
        )
        if not found.embeddings and not found.adapters:
            raise UserError(
                f"{folder}: contains neither {EMBEDDINGS.folder}/{EMBEDDINGS.example} nor "
                f"{ADAPTERS.folder}/{ADAPTERS.example}; give --embedding or --lora"
            )
        return found

    def missing(self) -> list[str]:
        """Return where the files are expected that were not found."""
        expected = {
            f"{EMBEDDINGS.folder}/{EMBEDDINGS.example}": self.embeddings,
            f"{ADAPTERS.folder}/{ADAPTERS.example}": self.adapters,
            str(_BLEND): self.blend,
        }
        return [name for name, found in expected.items() if not found]

    def read(self, preset: Preset, lora: LoraSettings) -> Training:
        """Read all files, which were trained with a model and these settings of LoRA.

        Raises:
            UserError: a file is missing, damaged, or belongs to another model.
        """
        return Training(
            {path: read_soft_prompt(path, preset) for path in self.embeddings},
            {
                path: (ADAPTERS.updates(path), read_adapter(path, preset, lora))
                for path in self.adapters
            },
            None if self.blend is None else read_blend(self.blend),
        )


def read_soft_prompt(path: Path, preset: Preset) -> SoftPrompt:
    """Read a text embedding of the original.

    Raises:
        UserError: the file is missing, damaged, or belongs to another model, or its name does not
            say the iteration.
    """
    updates = EMBEDDINGS.updates(path)
    tensor = _require_numbers(unpickle(path), path)
    width = preset.transformer.text_width
    if tensor.ndim != 3 or len(tensor) != 1 or tensor.shape[1] < SOFT_PROMPT_LENGTH:
        raise UserError(
            f"{path}: is not a text embedding of the original: its shape is {tuple(tensor.shape)}, "
            f"not (1, 512, {width}); {_AGAIN}"
        )
    if tensor.shape[2] != width:
        raise UserError(
            f"{path}: has vectors of width {tensor.shape[2]}, but those of model {preset.name} "
            f"have {width}; {_OTHER_MODEL}"
        )
    vectors = tensor[0, :SOFT_PROMPT_LENGTH].float().clone()
    require_finite({"the text embedding": vectors}, path, _AGAIN)
    return SoftPrompt(vectors, updates, preset.name)


def read_adapter(path: Path, preset: Preset, lora: LoraSettings) -> Adapter:
    """Read a LoRA of the original.

    Args:
        path: its file.
        preset: the model that it was trained with.
        lora: its rank, alpha and dropout. A file does not tell them: its tensors are flat.

    Raises:
        UserError: the file is missing, damaged, or belongs to another model.
    """
    content = unpickle(path)
    if not isinstance(content, Mapping):
        raise UserError(f"{path}: is not a LoRA of the original; {_AGAIN}")
    layers = _adapted_layers(preset)
    names = {_released_name(f"{layer}.lora_{half}", preset) for layer in layers for half in "AB"}
    _require_names(content, names, path, preset)
    rank, weights = lora.lora_rank, dict[str, Tensor]()
    for layer, (outputs, inputs) in layers.items():
        for half, shape in (("A", (rank, inputs)), ("B", (outputs, rank))):
            name = _released_name(f"{layer}.lora_{half}", preset)
            tensor = _reshaped(_require_numbers(content[name], path), shape, name, path)
            weights[f"base_model.model.{layer}.lora_{half}.weight"] = tensor
    require_finite(weights, path, _AGAIN)
    return Adapter.with_config(weights, lora_config(lora))


def read_blend(path: Path) -> NDArray[np.float32]:
    """Read a blend mask of the original, (64, 64) fp32, where 1 keeps the photograph.

    Raises:
        UserError: the file is missing, damaged, or something else.
    """
    tensor = _require_numbers(unpickle(path), path)
    if tensor.shape != _BLEND_SHAPE:
        raise UserError(
            f"{path}: is not a blend of the original: its shape is {tuple(tensor.shape)}, not "
            f"{_BLEND_SHAPE}; {_AGAIN}"
        )
    values = tensor.detach().float().numpy().copy()
    if not ((values >= 0) & (values <= 1)).all():
        raise UserError(f"{path}: has values that are not between 0 and 1; {_AGAIN}")
    return values


def _adapted_layers(preset: Preset) -> dict[str, tuple[int, int]]:
    """Return the layers of a model that LoRA adapts: name → (outputs, inputs)."""
    model = build_on_meta(lambda: Infinity(preset.transformer))
    return {
        name: (layer.out_features, layer.in_features)
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear) and name.endswith(TARGET_MODULES)
    }


def _released_name(name: str, preset: Preset) -> str:
    return released_transformer_key(name, preset.transformer)


def _require_names(content: Mapping[Any, Any], names: set[str], path: Path, preset: Preset) -> None:
    """Check that a dictionary has exactly these keys."""
    differences = [
        f"{len(keys)} {adjective} tensors such as {printable(min(map(str, keys)))[:80]}"
        for adjective, keys in (
            ("missing", names - content.keys()),
            ("unknown", content.keys() - names),
        )
        if keys
    ]
    if differences:
        raise UserError(
            f"{path}: is not a LoRA of model {preset.name} ({', '.join(differences)}); "
            f"{_OTHER_MODEL}"
        )


def _require_numbers(value: Any, path: Path) -> Tensor:
    """Check that a value is a plain tensor of floating-point numbers.

    Raises:
        UserError: it is something else, such as a sparse tensor or one without memory.
    """
    if not isinstance(value, Tensor):
        raise UserError(f"{path}: contains {type(value).__name__}, not a tensor; {_AGAIN}")
    plain = value.layout == torch.strided and value.device.type == "cpu"
    if not plain or not value.is_floating_point():
        raise UserError(f"{path}: contains a tensor that is not plain numbers; {_AGAIN}")
    return value.detach()


def _reshaped(tensor: Tensor, shape: tuple[int, int], name: str, path: Path) -> Tensor:
    """Return a copy in fp32 of a tensor that is flat, or has the shape already."""
    if tuple(tensor.shape) not in (shape, (shape[0] * shape[1],)):
        raise UserError(
            f"{path}: {name} has shape {tuple(tensor.shape)}, but should have {shape} or its "
            f"{shape[0] * shape[1]:,} values in a row; set model and lora_rank to those that it "
            "was trained with"
        )
    return tensor.float().reshape(shape).clone()
