"""Load weight files, in any layout that models are released in, as flat state dicts.

The files are safetensors or pickles, single or sharded, flat or nested. Pickles are loaded with
``weights_only``, so that no code in them runs, and memory-mapped, so that a tensor is in memory
only while it is used. :mod:`editinfinity.models.released` handles the key names.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from editinfinity.errors import UserError, first_sentence
from editinfinity.files.input_files import require_file

log = logging.getLogger(__name__)

MAX_FILE_BYTES = 2**40
"""Maximum size of a weight file, in bytes."""

_PICKLE_SUFFIXES = (".pth", ".pt", ".bin", ".ckpt")
_SHARD = re.compile(r"-(\d{5})-of-(\d{5})$")
_WRAPPER_KEYS = ("vae", "trainer", "gpt_fsdp", "gpt_wo_ddp", "state_dict", "model", "module")
"""Keys that wrap a state dict in released pickles, e.g. ``{'trainer': {'gpt_fsdp': …}}``."""


def find_weight_files(folder: Path, pattern: str, what: str) -> list[Path]:
    """Find the weight files of one model in a folder, with the shards in order.

    Safetensors files are preferred to pickles.

    Args:
        folder: folder of the weights.
        pattern: glob pattern of the file, of its shards, or of the folder that contains them.
        what: name of the model, for messages.

    Raises:
        UserError: no file matches, several models match, or a shard is missing.
    """
    candidates: list[Path] = []
    for match in sorted(folder.glob(pattern)) if folder.is_dir() else []:
        candidates.extend(sorted(match.iterdir()) if match.is_dir() else [match])
    if files := _files_of_one_model(candidates, what):
        return files
    raise UserError(
        f"{folder}: contains no {pattern}, the weights of {what}; "
        "put the file there or set model_dir to the folder that has it"
    )


def weight_files_in(folder: Path) -> list[Path]:
    """Find the weight files of the only model in a folder, as ``find_weight_files`` does.

    Raises:
        UserError: the folder contains no weights or several models, or a shard is missing.
    """
    try:
        candidates = sorted(folder.iterdir())
    except OSError as error:
        raise UserError(f"{folder}: cannot be listed ({error.strerror}); allow listing") from None
    if files := _files_of_one_model(candidates, "a model"):
        return files
    raise UserError(f"{folder}: contains no weights; give the file or folder that does")


def _files_of_one_model(candidates: Sequence[Path], what: str) -> list[Path]:
    """Return all shards of the only model among files, preferring safetensors; empty if none."""
    files: list[Path] = []
    for suffixes in ((".safetensors",), _PICKLE_SUFFIXES):
        files = files or [path for path in candidates if path.suffix in suffixes]
    if not files:
        return []
    shards = [_SHARD.search(path.stem) for path in files]
    if len(files) == 1 and shards[0] is None:
        return files
    if None in shards or len({_SHARD.sub("", path.stem) for path in files}) > 1:
        names = ", ".join(path.name for path in files)
        raise UserError(f"{files[0].parent}: several files may be {what} ({names}); keep one")
    total = max(int(shard[2]) for shard in shards if shard)
    present = {int(shard[1]) for shard in shards if shard}
    if missing := [index for index in range(1, total + 1) if index not in present]:
        raise UserError(
            f"{files[0].parent}: shard {missing[0]} of {total} of {what} is missing; "
            "get the complete set of files"
        )
    return files


def read_state_dict(files: Sequence[Path]) -> dict[str, Tensor]:
    """Load all tensors of a model's files, on the CPU, memory-mapped if the format allows it.

    Raises:
        UserError: a file is missing or damaged, or contains no state dict.
    """
    state: dict[str, Tensor] = {}
    for path in files:
        require_file(path, MAX_FILE_BYTES, "fetch or convert it first")
        state.update(
            _read_safetensors(path) if path.suffix == ".safetensors" else read_pickle(path)
        )
    return state


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    with open_safetensors(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


@contextmanager
def open_safetensors(path: Path) -> Iterator[Any]:
    """Open a file of weights in the safetensors format, as ``safe_open`` does for torch.

    Raises:
        UserError: the file cannot be read, or is damaged; also while it is read inside the block.
    """
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({first_sentence(error)})") from None
    except SafetensorError as error:
        raise UserError(
            f"{path}: is damaged or truncated ({first_sentence(error)}); get the file again"
        ) from None


def can_be_memory_mapped(path: Path) -> bool:
    """Return whether a pickle has the zip format of torch ≥ 1.6, which can be memory-mapped."""
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def read_pickle(path: Path) -> dict[str, Tensor]:
    """Load the state dict of a pickle, memory-mapped unless it has the format before torch 1.6.

    Raises:
        UserError: the file is missing or damaged, contains no state dict, or would run code.
    """
    return _unwrap(unpickle(path), path)


def unpickle(path: Path) -> Any:
    """Load the content of a pickle, with its tensors on the CPU, memory-mapped if possible.

    Raises:
        UserError: the file is missing or damaged, or would run code.
    """
    require_file(path, MAX_FILE_BYTES, "give the path of a weight file")
    try:
        return torch.load(path, "cpu", weights_only=True, mmap=can_be_memory_mapped(path))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({first_sentence(error)})") from None
    except Exception as error:  # damaged pickles raise almost any exception
        log.debug("%s: cannot be loaded", path, exc_info=error)
        raise UserError(f"{path}: is damaged or not plain weights; get the file again") from None


def _unwrap(content: Any, path: Path) -> dict[str, Tensor]:
    """Return the state dict inside a pickle's content, unwrapping nested dictionaries."""
    while isinstance(content, Mapping):
        if content and all(isinstance(value, Tensor) for value in content.values()):
            return dict(content)
        inner = next((content[key] for key in _WRAPPER_KEYS if key in content), None)
        if inner is None:
            break
        content = inner
    raise UserError(f"{path}: contains no state dict; give the file of the model's weights")
