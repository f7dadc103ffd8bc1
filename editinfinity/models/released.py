"""Key names of released weight files ↔ those of our modules (tensors in, tensors out; no files).

Source: docs/model.md, "Released weights": block n is ``block_chunks.i.module.j``, convolutions and
norms of the newer tokenizer files sit in a wrapper (``conv1.conv.weight``), ``scale_mul_1H11``
comes in two layouts, ``zero_k_bias`` buffers and the quantiser's masks are not used.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from editinfinity.presets import TransformerConfig

_CHUNKED = re.compile(r"^block_chunks\.(\d+)\.module\.(\d+)\.")
_PLAIN = re.compile(r"^blocks\.(\d+)\.")
_WRAPPED = re.compile(r"\.(conv|norm)\.(weight|bias)$")
_RESAMPLED = re.compile(r"\.(?:down|up)sample\.conv\.(?:weight|bias)$")
_TOKENIZER_PARTS = ("encoder.", "decoder.")


def transformer_key(key: str, config: TransformerConfig) -> str | None:
    """Our name of a released transformer key; None for what is not used."""
    if key.endswith(".zero_k_bias"):
        return None
    per_chunk = config.depth // config.chunks
    return _CHUNKED.sub(lambda m: f"blocks.{int(m[1]) * per_chunk + int(m[2])}.", key)


def tokenizer_key(key: str) -> str | None:
    """Our name of a released tokenizer key; None for losses, discriminators and masks."""
    if not key.startswith(_TOKENIZER_PARTS):
        return None
    return key if _RESAMPLED.search(key) else _WRAPPED.sub(r".\2", key)


def fitted(key: str, tensor: Tensor) -> Tensor:
    """A released tensor in our shape: ``scale_mul_1H11`` comes as (1, H, 1, 1) or (1, 1, H, 1)."""
    return tensor.reshape(1, -1, 1, 1) if key.endswith(".scale_mul_1H11") else tensor


def released_transformer_key(key: str, config: TransformerConfig) -> str:
    """The released name of one of our transformer keys."""
    per_chunk = config.depth // config.chunks

    def chunked(match: re.Match[str]) -> str:
        chunk, index = divmod(int(match[1]), per_chunk)
        return f"block_chunks.{chunk}.module.{index}."

    return _PLAIN.sub(chunked, key)


def transformer_state(state: Mapping[str, Tensor], config: TransformerConfig) -> dict[str, Tensor]:
    """A released transformer state dict under our names and shapes."""
    named = ((transformer_key(key, config), tensor) for key, tensor in state.items())
    return {name: fitted(name, tensor) for name, tensor in named if name is not None}


def tokenizer_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A released tokenizer state dict under our names; losses and discriminators are left out."""
    named = ((tokenizer_key(key), tensor) for key, tensor in state.items())
    return {name: tensor for name, tensor in named if name is not None}
