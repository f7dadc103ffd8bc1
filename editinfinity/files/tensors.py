"""Read and write safetensors files whose metadata is one JSON text with sorted keys.

A single text makes equal content give equal bytes: safetensors writes several metadata keys in no
fixed order.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from editinfinity.errors import UserError, first_sentence
from editinfinity.files.atomic import atomic_path
from editinfinity.files.input_files import require_file

if TYPE_CHECKING:
    from torch import Tensor

METADATA_KEY = "editinfinity"

MAX_FILE_BYTES = 2**40
"""Maximum size of a tensor file, in bytes; so large that no real file exceeds it."""

Array = NDArray[Any]


def save_tensors(
    path: Path, tensors: Mapping[str, Array | Tensor], metadata: Mapping[str, Any]
) -> None:
    """Write tensors and metadata; equal arguments give equal bytes.

    Args:
        path: the output file, written atomically.
        tensors: name → numpy array or torch tensor (any device).
        metadata: JSON-serialisable values; ``kind`` names the kind of file.
    """
    header = {METADATA_KEY: json.dumps(metadata, sort_keys=True, separators=(",", ":"))}
    with atomic_path(path) as temporary:
        if all(isinstance(value, np.ndarray) for value in tensors.values()):
            from safetensors.numpy import save_file

            arrays = {name: np.asarray(value, order="C") for name, value in tensors.items()}
            save_file(arrays, temporary, metadata=header)
        else:
            import torch
            from safetensors.torch import save_file as save_torch

            ready = {
                name: torch.as_tensor(value).detach().cpu().contiguous()
                for name, value in tensors.items()
            }
            save_torch(ready, temporary, metadata=header)


def load_arrays(path: Path, kind: str, names: Iterable[str] = ()) -> tuple[dict[str, Array], Any]:
    """Load arrays and metadata from a file written by ``save_tensors``.

    Args:
        path: the file.
        kind: the kind of file that its metadata must name.
        names: names of tensors that the file must contain.

    Returns:
        name → numpy array, and the metadata as a dictionary.

    Raises:
        UserError: the file is missing or damaged, is of another kind, or lacks a tensor; or a
            number in it is not finite.
    """
    return _load(Path(path), kind, names, framework="np")


def load_tensors(path: Path, kind: str, names: Iterable[str] = ()) -> tuple[dict[str, Tensor], Any]:
    """As ``load_arrays``, but return torch tensors on the CPU."""
    return _load(Path(path), kind, names, framework="pt")


def _load(
    path: Path, kind: str, names: Iterable[str], framework: str
) -> tuple[dict[str, Any], Any]:
    cure = "delete it and run again"
    require_file(path, MAX_FILE_BYTES, "run the stage that makes it")
    try:
        with safe_open(path, framework=framework) as file:
            metadata = json.loads((file.metadata() or {}).get(METADATA_KEY, "null"))
            tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({first_sentence(error)}); {cure}") from None
    except (SafetensorError, ValueError, TypeError, AttributeError, RecursionError) as error:
        # TypeError, AttributeError: a dtype that numpy or torch does not support.
        raise UserError(
            f"{path}: is damaged or not a safetensors file ({first_sentence(error)}); {cure}"
        ) from None
    actual_kind = metadata.get("kind") if isinstance(metadata, dict) else None
    if actual_kind != kind:
        raise UserError(f"{path}: contains {actual_kind or 'unknown data'}, not {kind}; {cure}")
    missing = sorted(set(names) - tensors.keys())
    if missing:
        raise UserError(f"{path}: lacks {', '.join(missing)}; {cure}")
    require_finite(tensors, path, cure)
    return tensors, metadata


def require_finite(tensors: Mapping[str, Any], path: Path, cure: str) -> None:
    """Check that tensors hold no infinity or NaN, which would silently make the picture black.

    Args:
        tensors: name → numpy array or torch tensor.
        path: the file that contains them, for messages.
        cure: advice for the error message.

    Raises:
        UserError: a tensor holds infinity or NaN.
    """
    for name, values in tensors.items():
        if isinstance(values, np.ndarray):
            finite = values.dtype.kind not in "fc" or bool(np.isfinite(values).all())
        else:
            finite = bool(values.isfinite().all())
        if not finite:
            raise UserError(f"{path}: {name} contains infinity or NaN; {cure}")


def whole_number(metadata: Mapping[str, Any], key: str, path: Path) -> int:
    """Return a non-negative integer from a file's metadata.

    Raises:
        UserError: the value is missing or not a non-negative integer.
    """
    value = metadata.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise UserError(f"{path}: its {key} is missing or invalid; delete it and run again")
    return value
