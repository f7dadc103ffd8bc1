"""Convert between the key names of released weight files and those of this project's modules.

The functions map keys and state dicts; they read no files. Released files differ as follows: block
n is ``block_chunks.i.module.j``; newer tokenizer files wrap convolutions and norms
(``conv1.conv.weight``); ``scale_mul_1H11`` has two layouts; ``zero_k_bias`` buffers and the masks
of the quantiser are not used. Source: docs/model.md, "Released weights".
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from editinfinity.presets import TransformerConfig

_CHUNKED = re.compile(r"^block_chunks\.(\d+)\.module\.(\d+)\.")
_BLOCK = re.compile(r"^blocks\.(\d+)\.")
_WRAPPED = re.compile(r"\.(conv|norm)\.(weight|bias)$")
_RESAMPLED = re.compile(r"\.(?:down|up)sample\.conv\.(?:weight|bias)$")
_TOKENIZER_PARTS = ("encoder.", "decoder.")


def transformer_key(key: str, config: TransformerConfig) -> str | None:
    """Return this project's name of a released transformer key; None for an unused key."""
    if key.endswith(".zero_k_bias"):
        return None
    per_chunk = config.depth // config.chunks
    return _CHUNKED.sub(lambda m: f"blocks.{int(m[1]) * per_chunk + int(m[2])}.", key)


def tokenizer_key(key: str) -> str | None:
    """Return this project's name of a released tokenizer key.

    Return None for keys of losses, discriminators and masks.
    """
    if not key.startswith(_TOKENIZER_PARTS):
        return None
    return key if _RESAMPLED.search(key) else _WRAPPED.sub(r".\2", key)


def reshape_released(key: str, tensor: Tensor) -> Tensor:
    """Return a released tensor in this project's shape.

    Files store ``scale_mul_1H11`` as (1, H, 1, 1) or (1, 1, H, 1); the modules use the former.
    """
    return tensor.reshape(1, -1, 1, 1) if key.endswith(".scale_mul_1H11") else tensor


def released_transformer_key(key: str, config: TransformerConfig) -> str:
    """Return the released name of one of this project's transformer keys."""
    per_chunk = config.depth // config.chunks

    def chunked(match: re.Match[str]) -> str:
        chunk, index = divmod(int(match[1]), per_chunk)
        return f"block_chunks.{chunk}.module.{index}."

    return _BLOCK.sub(chunked, key)


def transformer_state(state: Mapping[str, Tensor], config: TransformerConfig) -> dict[str, Tensor]:
    """Return a released transformer state dict with this project's names and shapes."""
    named = ((transformer_key(key, config), tensor) for key, tensor in state.items())
    return {name: reshape_released(name, tensor) for name, tensor in named if name is not None}


def tokenizer_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a released tokenizer state dict with this project's names.

    Losses, discriminators and masks are left out.
    """
    named = ((tokenizer_key(key), tensor) for key, tensor in state.items())
    return {name: tensor for name, tensor in named if name is not None}
