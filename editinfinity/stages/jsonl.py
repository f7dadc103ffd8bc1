"""Stage ``jsonl``: the training table of a case, one line of image path and source prompt."""

from __future__ import annotations

from pathlib import Path


def write_jsonl(*, image: Path, source_prompt: str, output: Path) -> None:
    """Write ``{"image_path": …, "source_prompt": …}`` as the only line of ``output``.

    The prompt is stored without the suffix the caption gets (see ``editinfinity.prompts``).

    Raises:
        UserError: the image is missing, or the prompt is not usable.
    """
    raise NotImplementedError


def read_jsonl(path: Path) -> tuple[Path, str]:
    """Image path and source prompt of a table written by ``write_jsonl``.

    Raises:
        UserError: the file is missing or is no such table.
    """
    raise NotImplementedError
