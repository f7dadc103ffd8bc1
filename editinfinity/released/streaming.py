"""Write a safetensors file tensor by tensor, so that memory use does not grow with the file.

The safetensors library's own writer needs all tensors in memory at once. The format: eight bytes
with the header's length (little endian), a JSON header padded with spaces to a multiple of eight,
then the tensors one after another (https://huggingface.co/docs/safetensors). After a conversion,
:mod:`.convert` reads the file back with the library.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from editinfinity.errors import UserError
from editinfinity.files.atomic import atomic_path
from editinfinity.files.tensors import METADATA_KEY
from editinfinity.released.stored import TYPES, StoredTensor

_NAMES = {dtype: name for name, dtype in TYPES.items()}

_CHUNK = 64 * 2**20
"""Number of bytes hashed and written at a time."""


def write_streamed(
    path: Path, tensors: Mapping[str, StoredTensor], metadata: Mapping[str, Any]
) -> str:
    """Write tensors to one safetensors file atomically, with one tensor in memory at a time.

    Args:
        path: path of the file.
        tensors: name → tensor; written in the order of their names.
        metadata: values that JSON can represent; ``kind`` says what the file is.

    Returns:
        SHA-256 of the file, in hexadecimal digits.

    Raises:
        UserError: if a value is not finite.
    """
    header: dict[str, Any] = {
        "__metadata__": {
            "format": "pt",
            METADATA_KEY: json.dumps(metadata, sort_keys=True, separators=(",", ":")),
        }
    }
    offset = 0
    for name in sorted(tensors):
        stored = tensors[name]
        length = torch.Size(stored.shape).numel() * stored.dtype.itemsize
        header[name] = {
            "dtype": _NAMES[stored.dtype],
            "shape": list(stored.shape),
            "data_offsets": [offset, offset + length],
        }
        offset += length
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    digest = hashlib.sha256()
    with atomic_path(path) as temporary, temporary.open("wb") as file:

        def put(data: bytes | memoryview) -> None:
            digest.update(data)
            file.write(data)

        put(len(text).to_bytes(8, "little"))
        put(text)
        for name in sorted(tensors):
            tensor = tensors[name].read()
            if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                raise UserError(
                    f"{name}: contains values that are not finite; get the released file again"
                )
            raw = tensor.contiguous().flatten().view(torch.uint8)
            for start in range(0, raw.numel(), _CHUNK):
                put(raw[start : start + _CHUNK].numpy().data)
            del raw, tensor
            tensors[name].release()
    return digest.hexdigest()
