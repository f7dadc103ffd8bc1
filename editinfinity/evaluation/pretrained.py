"""Helpers for metrics with pretrained models: loading the models and normalising pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from editinfinity.errors import UserError, first_sentence
from editinfinity.files.input_files import refuse_git_lfs_pointers


def load_pretrained(model_class: Any, folder: Path, **options: Any) -> Any:
    """Call ``model_class.from_pretrained`` on a local folder, without any network access.

    transformers reads pickled weights with ``weights_only``.

    Raises:
        UserError: if the folder contains no such model, or a damaged one.
    """
    try:
        return model_class.from_pretrained(str(folder), local_files_only=True, **options)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # transformers passes on any exception of its components
        refuse_git_lfs_pointers(folder)
        reason = first_sentence(error)
        raise UserError(
            f"{folder}: contains no usable {model_class.__name__} ({reason}); get the files again"
        ) from None


def sub_state_dict(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with a prefix, with the prefix removed."""
    return {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}


def normalized(pictures: Tensor, mean: Sequence[float], deviation: Sequence[float]) -> Tensor:
    """Subtract the channels' means from pictures (B, 3, H, W), and divide by their deviations."""
    shift, scale = (pictures.new_tensor(v).view(1, 3, 1, 1) for v in (mean, deviation))
    return (pictures - shift) / scale
