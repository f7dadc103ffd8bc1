"""Stage ``jsonl``: write the training table of a case, one line with image path and prompt."""

from __future__ import annotations

import json
from pathlib import Path

from editinfinity.errors import UserError
from editinfinity.files.atomic import write_text
from editinfinity.files.prompts import read_prompt


def write_jsonl(*, image: Path, source_prompt: str, output: Path) -> None:
    """Write ``{"image_path": …, "source_prompt": …}`` as the only line of ``output``.

    The prompt is stored without the caption suffix (see ``editinfinity.prompts``).

    Raises:
        UserError: the image is missing, or the prompt is invalid.
    """
    if not image.is_file():
        raise UserError(f"{image}: there is no such file; put the picture there")
    prompt = read_prompt(source_prompt, what="source prompt", may_be_empty=True)
    line = {"image_path": image.as_posix(), "source_prompt": prompt}
    write_text(output, json.dumps(line, ensure_ascii=False) + "\n")


def read_jsonl(path: Path) -> tuple[Path, str]:
    """Return the image path and source prompt of a table written by ``write_jsonl``.

    Raises:
        UserError: the file is missing or is not such a table.
    """
    try:
        line = json.loads(path.read_text(encoding="utf-8"))
        return Path(line["image_path"]), str(line["source_prompt"])
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); run the stage jsonl") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path}: is not a training table; delete it and run again") from None
