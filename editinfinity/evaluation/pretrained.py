"""What metrics share that look through models: reading these, and pictures as they want them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from editinfinity.errors import UserError


def from_folder(kind: Any, folder: Path, **options: Any) -> Any:
    """``kind.from_pretrained`` of a folder on this machine, nothing else being asked.

    Pickled weights are read by transformers with ``weights_only``.

    Raises:
        UserError: it holds no such thing, or a damaged one.
    """
    try:
        return kind.from_pretrained(str(folder), local_files_only=True, **options)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(
            f"{folder}: holds no usable {kind.__name__} ({reason}); get the files again"
        ) from None


def below(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors below a prefix, under what follows it."""
    return {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}


def normalized(pictures: Tensor, mean: Sequence[float], deviation: Sequence[float]) -> Tensor:
    """Pictures (B, 3, H, W) less a mean, over a deviation of every channel."""
    shift, scale = (pictures.new_tensor(v).view(1, 3, 1, 1) for v in (mean, deviation))
    return (pictures - shift) / scale
