"""Read the released benchmark: ``mapping_file.json`` and the folder ``annotation_images``.

The content of the file is not trusted: an entry that is not usable is left out, with a notice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from editinfinity.errors import UserError, first_sentence
from editinfinity.files.input_files import path_on_disk, require_file
from editinfinity.names import printable
from editinfinity.settings.types import format_value

MAPPING, IMAGES = "mapping_file.json", "annotation_images"

SIDE = 512
"""Side of the benchmark's pictures and masks, in pixels."""

TYPES = (
    "random", "change object", "add object", "delete object", "change content", "change pose",
    "change colour", "change material", "change background", "change style",
)  # fmt: skip
"""Types of edit; ``editing_type_id`` is the index into this tuple."""

_MAX_BYTES = 2**28
"""Maximum size of the mapping file, in bytes; the released one has a few million."""

_MAX_NUMBERS = SIDE * SIDE
"""Maximum number of starts and lengths in a mask."""

_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")


@dataclass(frozen=True)
class Entry:
    """One picture of the benchmark and its edit.

    Attributes:
        name: id of the entry.
        image: path of the picture.
        source_prompt, prompt: prompts before and after the edit, without the benchmark's brackets.
        type: index into ``TYPES``.
        word: word of the source prompt that the edit is about; empty if there is none.
        runs: the mask as released, run-length encoded: start, length, start, length…
    """

    name: str
    image: Path
    source_prompt: str
    prompt: str
    type: int
    word: str
    runs: tuple[int, ...]


@dataclass(frozen=True)
class Benchmark:
    """Content of a benchmark folder: entries in file order, one line for each entry left out."""

    entries: tuple[Entry, ...]
    notices: tuple[str, ...]


def read_benchmark(folder: Path) -> Benchmark:
    """Read a benchmark folder in the released layout.

    Raises:
        UserError: there is no mapping file, or it is not a JSON object of entries by id, or no
            entry is usable.
    """
    path = folder / MAPPING
    require_file(path, _MAX_BYTES, f"set pie_bench to the folder with {MAPPING} and {IMAGES}")
    try:
        mapping = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        reason = first_sentence(error)
        raise UserError(f"{path}: is not valid JSON ({reason}); download it again") from None
    if not isinstance(mapping, dict) or not mapping:
        raise UserError(f"{path}: must map ids to entries; download it again")
    entries: list[Entry] = []
    notices: list[str] = []
    for name, fields in mapping.items():
        try:
            entries.append(_parse_entry(name, fields, folder))
        except UserError as error:
            notices.append(f"{path}: {printable(name)[:60]}: left out, {error}")
    if not entries:
        raise UserError(f"{path}: no entry can be used; {notices[0]}")
    return Benchmark(tuple(entries), tuple(notices))


def _parse_entry(name: str, fields: Any, folder: Path) -> Entry:
    """Check the fields of one id and return its entry; only ``editing_prompt`` must not be empty.

    Raises:
        UserError: the entry is not usable.
    """
    # Ids become the names of folders, beside the folder "masks".
    if not _ID.fullmatch(name) or name.lower() == "masks":
        raise UserError("the id must be 1 to 64 letters, digits, _ and -, and not masks")
    if not isinstance(fields, Mapping):
        raise UserError(f"must be an object of fields, got {format_value(fields)}")
    number = str(fields.get("editing_type_id"))  # a number or text
    if number not in {str(index) for index in range(len(TYPES))}:
        raise UserError(f"editing_type_id: must be 0 to 9, got {format_value(number)}")
    source, prompt = (_text_field(fields, key) for key in ("original_prompt", "editing_prompt"))
    if not prompt:
        raise UserError("editing_prompt: is empty")
    word = target_word(_text_field(fields, "blended_word"), source)
    return Entry(
        name, _image_path(fields.get("image_path"), folder), source, prompt, int(number), word,
        _parse_runs(fields.get("mask")),
    )  # fmt: skip


def _text_field(fields: Mapping[str, Any], key: str) -> str:
    """Return a text field without brackets, on one line."""
    text = fields.get(key, "")
    if not isinstance(text, str):
        raise UserError(f"{key}: must be text, got {format_value(text)}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UserError(f"{key}: contains half a surrogate pair") from None
    return " ".join(text.replace("[", "").replace("]", "").split())


def target_word(blended: str, source_prompt: str) -> str:
    """Return the word that locates the edit in runs without the released masks; empty if none.

    ``blended_word`` names the object before and after the edit. The result begins with the first of
    its words that occurs in the source prompt, and is the longest phrase from there that also
    occurs there.
    """
    words = blended.split()
    for first in range(len(words)):
        for last in range(len(words), first, -1):
            phrase = " ".join(words[first:last])
            if re.search(rf"(?<!\w){re.escape(phrase)}(?!\w)", source_prompt, re.IGNORECASE):
                return phrase
    return ""


def _image_path(value: Any, folder: Path) -> Path:
    """Return the path of the picture, which must be below the benchmark's image folder."""
    if not isinstance(value, str) or not value:
        raise UserError(f"image_path: must name a picture, got {format_value(value)}")
    images = folder / IMAGES
    try:
        path = path_on_disk(images / value)
        is_inside = path.resolve().is_relative_to(images.resolve())
        exists = is_inside and path.is_file()
    except (OSError, ValueError, RuntimeError):  # a null byte, a name too long, a loop of links
        raise UserError(f"image_path: {format_value(value)} is not a path") from None
    if not is_inside:
        raise UserError(f"image_path: {format_value(value)} is outside of {images}")
    if not exists:
        raise UserError(f"there is no picture {printable(str(path))}")
    return path


def _parse_runs(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise UserError(f"mask: must be a list of starts and lengths, got {format_value(value)}")
    if len(value) % 2:
        raise UserError(f"mask: its last start has no length ({len(value)} numbers)")
    if len(value) > _MAX_NUMBERS:
        raise UserError(f"mask: has {len(value)} numbers, more than there are pixels")
    for number in value:
        if type(number) is not int or number < 0:
            raise UserError(f"mask: must contain whole numbers ≥ 0, got {format_value(number)}")
    return tuple(value)


def decode_mask(runs: tuple[int, ...]) -> NDArray[np.bool_]:
    """Decode the runs of a mask over the row-major grid, (512, 512), True = edited.

    Runs are cut off at the end of the grid. The benchmark's evaluator also counts the four border
    lines as edited (``evaluation.canvas.with_border``). The editor must not: the border would free
    all cells at the edges of the picture.
    """
    edited = np.zeros(SIDE * SIDE, dtype=np.bool_)
    for start, length in zip(runs[::2], runs[1::2], strict=True):
        edited[min(start, edited.size) : min(start + length, edited.size)] = True
    return edited.reshape(SIDE, SIDE)
