"""Tensors in safetensors files, with one sorted JSON of metadata so that equal content is equal
bytes (safetensors keeps several metadata keys in no fixed order).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from editinfinity.errors import UserError
from editinfinity.files.atomic import atomic_path
from editinfinity.files.input_files import require_file

if TYPE_CHECKING:
    from torch import Tensor

METADATA_KEY = "editinfinity"

LARGEST = 2**40
"""Bytes of a file of tensors; only what is no file at all is refused by it."""

Array = NDArray[Any]


def save_tensors(
    path: Path, tensors: Mapping[str, Array | Tensor], metadata: Mapping[str, Any]
) -> None:
    """Write tensors and metadata; equal arguments give equal bytes.

    Args:
        path: where to; written atomically.
        tensors: name → numpy array or torch tensor (any device).
        metadata: what JSON can carry; ``kind`` says what the file is.
    """
    text = {METADATA_KEY: json.dumps(metadata, sort_keys=True, separators=(",", ":"))}
    with atomic_path(path) as temporary:
        if all(isinstance(value, np.ndarray) for value in tensors.values()):
            from safetensors.numpy import save_file

            arrays = {name: np.asarray(value, order="C") for name, value in tensors.items()}
            save_file(arrays, temporary, metadata=text)
        else:
            import torch
            from safetensors.torch import save_file as save_torch

            ready = {
                name: torch.as_tensor(value).detach().cpu().contiguous()
                for name, value in tensors.items()
            }
            save_torch(ready, temporary, metadata=text)


def load_arrays(path: Path, kind: str, names: Iterable[str] = ()) -> tuple[dict[str, Array], Any]:
    """Arrays and metadata of a file of ``save_tensors``.

    Args:
        path: the file.
        kind: what its metadata must say it is.
        names: tensors it must hold.

    Returns:
        name → numpy array, and the metadata's dict.

    Raises:
        UserError: the file is missing, damaged, or of another kind.
    """
    return _load(Path(path), kind, names, framework="np")


def load_tensors(path: Path, kind: str, names: Iterable[str] = ()) -> tuple[dict[str, Tensor], Any]:
    """As ``load_arrays``, with torch tensors on the CPU."""
    return _load(Path(path), kind, names, framework="pt")


def _load(
    path: Path, kind: str, names: Iterable[str], framework: str
) -> tuple[dict[str, Any], Any]:
    cure = "delete it and run again"
    require_file(path, LARGEST, "run the stage that makes it")
    try:
        with safe_open(path, framework=framework) as file:
            metadata = json.loads((file.metadata() or {}).get(METADATA_KEY, "null"))
            tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error}); {cure}") from None
    except (SafetensorError, ValueError, TypeError, AttributeError, RecursionError) as error:
        # TypeError, AttributeError: numbers of a kind that numpy or torch does not have.
        raise UserError(f"{path}: is damaged or no safetensors file ({error}); {cure}") from None
    found = metadata.get("kind") if isinstance(metadata, dict) else None
    if found != kind:
        raise UserError(f"{path}: holds {found or 'something foreign'}, not {kind}; {cure}")
    missing = sorted(set(names) - tensors.keys())
    if missing:
        raise UserError(f"{path}: lacks {', '.join(missing)}; {cure}")
    require_finite(tensors, path, cure)
    return tensors, metadata


def require_finite(tensors: Mapping[str, Any], path: Path, cure: str) -> None:
    """Refuse numbers that would turn a whole picture black without a word.

    Args:
        tensors: name → numpy array or torch tensor.
        path: their file, for messages.
        cure: what to do.

    Raises:
        UserError: one holds infinity or "not a number".
    """
    for name, values in tensors.items():
        if isinstance(values, np.ndarray):
            finite = values.dtype.kind not in "fc" or bool(np.isfinite(values).all())
        else:
            finite = bool(values.isfinite().all())
        if not finite:
            raise UserError(f"{path}: {name} holds numbers that are not finite; {cure}")


def whole_number(metadata: Mapping[str, Any], key: str, path: Path) -> int:
    """A count in a file's metadata.

    Raises:
        UserError: it is missing or none.
    """
    value = metadata.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise UserError(f"{path}: its {key} is missing or no number; delete it and run again")
    return value
