"""Models and tokenizers of transformers from a folder: offline, faults in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
