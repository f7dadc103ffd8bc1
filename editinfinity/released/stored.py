"""Lazy state dicts: names, shapes and types are read at once, the values one tensor at a time.

A model of 8 billion parameters does not fit into the memory of most machines. From safetensors
files, one tensor is read at a time. The tensors of a pickle are memory-mapped, loaded when they are
accessed, and released again.
"""

from __future__ import annotations

import ctypes
import math
import mmap
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from editinfinity.errors import UserError
from editinfinity.files.input_files import require_file
from editinfinity.files.state_dicts import (
    MAX_FILE_BYTES,
    can_be_memory_mapped,
    open_safetensors,
    read_pickle,
)

TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""Name of a type in safetensors files → torch type."""


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file.

    Attributes:
        shape: its shape.
        dtype: its type.
        read: returns the tensor with its values.
        release: frees the memory-mapped pages that reading loaded. Does nothing for other tensors.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], Tensor]
    release: Callable[[], None] = lambda: None


StoredState = Mapping[str, StoredTensor]


def dtype_names(state: StoredState) -> list[str]:
    """Return the data types of tensors, such as ``bf16``, that of most parameters first."""
    counts: Counter[torch.dtype] = Counter()
    for tensor in state.values():
        counts[tensor.dtype] += math.prod(tensor.shape)
    names = {dtype: re.sub("^f", "fp", name.lower()) for name, dtype in TYPES.items()}
    return [names[dtype] for dtype, _ in counts.most_common()]


def open_state(files: Sequence[Path]) -> dict[str, StoredTensor]:
    """Return the tensors of a model's files. Shards are merged.

    Raises:
        UserError: if a file is missing, damaged or truncated, or contains no state dict, or if
            two files contain the same tensor.
    """
    state: dict[str, StoredTensor] = {}
    for path in files:
        require_file(path, MAX_FILE_BYTES, "fetch or convert it first")
        found = _in_safetensors(path) if path.suffix == ".safetensors" else _in_pickle(path)
        for name, tensor in found:
            if name in state:
                raise UserError(f"{path}: {name} is also in another file; remove one of them")
            state[name] = tensor
    return state


def _in_safetensors(path: Path) -> Iterator[tuple[str, StoredTensor]]:
    with open_safetensors(path) as file:
        for name in file.keys():  # noqa: SIM118
            piece = file.get_slice(name)
            if piece.get_dtype() not in TYPES:
                raise UserError(f"{path}: {name} is of type {piece.get_dtype()}, not a weight")
            read = partial(_read_safetensor, path, name)
            yield name, StoredTensor(tuple(piece.get_shape()), TYPES[piece.get_dtype()], read)


def _read_safetensor(path: Path, name: str) -> Tensor:
    with open_safetensors(path) as file:
        return file.get_tensor(name)


def _in_pickle(path: Path) -> Iterator[tuple[str, StoredTensor]]:
    mapped = can_be_memory_mapped(path)
    for name, tensor in read_pickle(path).items():
        stored = StoredTensor(tuple(tensor.shape), tensor.dtype, partial(_itself, tensor))
        yield name, replace(stored, release=partial(_forget_pages, tensor)) if mapped else stored


def _itself(tensor: Tensor) -> Tensor:
    return tensor


def _forget_pages(tensor: Tensor) -> None:
    """Let the kernel drop the pages of a memory-mapped tensor. Access reads them from disk again.

    Otherwise a whole pickle would accumulate in memory while its tensors are read. Must not be
    called for a tensor that is not mapped from a file: its values would be lost. Drops only pages
    that lie completely inside the tensor.
    """
    if not hasattr(mmap, "MADV_DONTNEED"):
        return
    size = tensor.untyped_storage().nbytes()
    start = -(-tensor.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
    end = (tensor.data_ptr() + min(size, tensor.nbytes)) // mmap.PAGESIZE * mmap.PAGESIZE
    if end > start:
        library = ctypes.CDLL(None)
        library.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), mmap.MADV_DONTNEED)
