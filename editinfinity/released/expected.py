"""The tensors that each part of a model must have: names, shapes, and names in released files."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from editinfinity.errors import UserError, first_sentence
from editinfinity.models.released import reshape_released, tokenizer_key, transformer_key
from editinfinity.models.tokenizer import Tokenizer
from editinfinity.models.transformer import Infinity
from editinfinity.presets import Preset
from editinfinity.released.stored import StoredState, StoredTensor

Shapes = Mapping[str, tuple[int, ...]]
"""Tensor name in this package → shape, for every tensor of a part."""

Rename = Callable[[str], str | None]
"""Maps a tensor's released name to its name in this package; None if the tensor is not used."""


@dataclass(frozen=True)
class Comparison:
    """The differences between the tensors in files and those that a part must have.

    Attributes:
        tensors: the part's tensors, with the names and shapes that this package uses.
        missing: names of tensors that the files lack.
        unexpected: released names that do not belong to the part.
        misshapen: tensors of wrong shape, each as "NAME is SHAPE, not SHAPE".
        unused: released names that are known, but not used.
    """

    tensors: dict[str, StoredTensor]
    missing: list[str]
    unexpected: list[str]
    misshapen: list[str]
    unused: list[str]

    @property
    def fits(self) -> bool:
        """Whether the files contain exactly the tensors of this part."""
        return not (self.missing or self.unexpected or self.misshapen)

    @property
    def matching(self) -> int:
        """Number of tensors of the files that match the part in name and shape."""
        return len(self.tensors) - len(self.misshapen)

    @property
    def parameters(self) -> int:
        """Number of parameters of the part."""
        return sum(math.prod(tensor.shape) for tensor in self.tensors.values())

    def differences(self) -> str:
        """Describe the differences: for each kind, the number of tensors and an example."""
        kinds = (
            ("lacks {} tensors such as {}", self.missing),
            ("has {} unexpected tensors such as {}", self.unexpected),
            ("has {} tensors of other shapes: {}", self.misshapen),
        )
        return " and ".join(text.format(len(names), names[0]) for text, names in kinds if names)


def expected(preset: Preset, part: str, folder: Path) -> tuple[Shapes, Rename]:
    """Return the tensor shapes of a part, and the function that maps released names to ours.

    Args:
        preset: the model.
        part: ``tokenizer``, ``transformer`` or ``text_encoder``.
        folder: folder of the part's files. For a text encoder, it contains config.json.

    Raises:
        UserError: if the text encoder's configuration cannot be read, or is for another model.
    """
    if part == "tokenizer":
        return _shapes(lambda: Tokenizer(preset.tokenizer)), tokenizer_key
    if part == "transformer":
        config = preset.transformer
        return _shapes(lambda: Infinity(config)), lambda key: transformer_key(key, config)
    shapes = dict(_shapes(lambda: _t5_encoder(preset, folder)))
    shapes.pop("encoder.embed_tokens.weight", None)  # the same tensor as shared.weight
    return shapes, _t5_key


def compare(state: StoredState, preset: Preset, part: str, folder: Path) -> Comparison:
    """Rename the tensors of files to this package's names, and list what does not fit the part.

    Args:
        state: the tensors in the files.
        preset, part, folder: as for ``expected``, whose errors are raised here too.
    """
    shapes, rename = expected(preset, part, folder)
    tensors, unexpected, misshapen, unused = {}, [], [], []
    for key, tensor in state.items():
        name = rename(key)
        if name is None:
            unused.append(key)
        elif name not in shapes:
            unexpected.append(key)
        else:
            tensors[name] = tensor = _in_our_shape(name, tensor)
            if tensor.shape != shapes[name]:
                misshapen.append(f"{key} is {tensor.shape}, not {shapes[name]}")
    missing = shapes.keys() - tensors.keys()
    return Comparison(tensors, *map(sorted, (missing, unexpected, misshapen, unused)))


def _in_our_shape(name: str, tensor: StoredTensor) -> StoredTensor:
    shape = tuple(reshape_released(name, torch.empty(tensor.shape, device="meta")).shape)
    if shape == tensor.shape:
        return tensor
    return replace(tensor, shape=shape, read=lambda: reshape_released(name, tensor.read()))


def _shapes(build: Callable[[], nn.Module]) -> Shapes:
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in build().state_dict().items()}


def _t5_encoder(preset: Preset, folder: Path) -> nn.Module:
    from transformers import T5Config, T5EncoderModel

    try:
        config: Any = T5Config.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{folder}: has no valid configuration of T5 ({first_sentence(error)}); get it again"
        ) from None
    if config.d_model != preset.text_encoder.width:
        raise UserError(
            f"{folder}: its features have {config.d_model} channels, {preset.name} needs "
            f"{preset.text_encoder.width}; give the folder of the right text encoder"
        )
    return T5EncoderModel(config)


def _t5_key(key: str) -> str | None:
    """Map a released T5 name. Decoder and head are unused; the shared embedding is kept once."""
    if key.startswith(("decoder.", "lm_head.")):
        return None
    return "shared.weight" if key == "encoder.embed_tokens.weight" else key
