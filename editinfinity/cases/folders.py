"""Cases as folders, in the layout of the original guide.

A case has ``image/original_image.{jpg,jpeg,png,webp,tif,tiff,avif}``,
``image/mask.{png,json,txt}``, ``prompt/edit_image_prompt.txt``,
``prompt/original_image_prompt.txt`` and ``prompt/target_word.txt``. A named edit has
``edit_image_prompt.NAME.txt``. It may have its own ``mask.NAME.png`` (or .json, .txt) and
``target_word.NAME.txt``; otherwise it uses the unnamed ones. :mod:`editinfinity.files.near_names`
handles file names that are nearly right.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from editinfinity.cases.case import Case, Edit
from editinfinity.config.load import Config, ConfigError
from editinfinity.files.input_files import is_folder
from editinfinity.files.near_names import Filled, Slot, edits_of, fill
from editinfinity.names import printable, why_unusable

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".avif")
MASK_ENDINGS = (".png", ".json", ".txt")
"""Endings of mask files: picture, polygons, box (read by ``editinfinity.files.masks``)."""

UNNAMED = "edit"
"""Name of the edit whose prompt file names no edit."""

_PICTURES = (".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".avif")
"""Further endings accepted for a mask picture; its format is detected from the content."""

_IMAGE = Slot("original_image", (*IMAGE_ENDINGS, *(ending.upper() for ending in IMAGE_ENDINGS)))
MASK = Slot("mask", MASK_ENDINGS, _PICTURES, has_edits=True)
_SOURCE = Slot("original_image_prompt", (".txt",), (".text", ".md"))
_PROMPT = Slot("edit_image_prompt", (".txt",), (".text", ".md"), has_edits=True)
_WORD = Slot("target_word", (".txt",), (".text", ".md"), has_edits=True)


def find_folders(data: Path) -> tuple[list[str], list[str]]:
    """Return (names of the cases below ``data`` in order, one line for each folder skipped).

    Raises:
        ConfigError: ``data`` is not a readable folder.
    """
    try:
        folders = sorted(filter(is_folder, data.iterdir()))
    except OSError as fault:
        raise ConfigError(
            [f"data: {data} cannot be listed ({fault.strerror}); set data: to the cases' folder"]
        ) from None
    names, notices = [], []
    for folder in folders:
        if folder.name.startswith("."):
            continue
        shown = f"{data}/{printable(folder.name)}"
        if reason := why_unusable(folder.name):
            notices.append(f"{shown}: skipped, {reason}; rename the folder")
        elif not ((folder / "image").is_dir() or (folder / "prompt").is_dir()):
            notices.append(f"{shown}: skipped, it has neither image/ nor prompt/")
        else:
            names.append(folder.name)
    return names, notices


def read_folder(name: str, config: Config) -> tuple[Case, list[str]]:
    """Return (the case of a folder, one line for each file whose name is not right)."""
    folder = config.data / name
    image_folder, prompt_folder = folder / "image", folder / "prompt"
    files, names, notices = _files(prompt_folder), list[str](), list[str]()
    for file, edit in edits_of(files, _PROMPT).items():
        if reason := why_unusable(edit):
            files.remove(file)
            notices.append(f"{prompt_folder}/{printable(file)}: skipped, {reason}; rename the file")
        elif edit not in names:
            names.append(edit)
    prompts = fill(prompt_folder, files, [_SOURCE, *_own(_PROMPT, names)])
    by_edit = _prompts(prompt_folder, prompts, names)
    words = fill(prompt_folder, files, _own(_WORD, by_edit))
    images = fill(image_folder, _files(image_folder), [_IMAGE, *_own(MASK, by_edit)])
    settings = config.of_case(name)
    edits = {}
    for edit, prompt in by_edit.items():
        mask, word = _own_or_shared(images, MASK, edit), _own_or_shared(words, _WORD, edit)
        edits[edit] = Edit(edit, prompt, mask, word, settings)
    image, faults = images.paths.get(_IMAGE.name), list[str]()
    if image is None:
        image = image_folder / "original_image.jpg"  # usual name, for messages
        endings = ", ".join(IMAGE_ENDINGS)
        faults.append(
            f"{image_folder}: holds no original_image; add it with one of the endings {endings}"
        )
    if {_PROMPT.name, f"{_PROMPT.name}.{UNNAMED}"} <= prompts.paths.keys():
        faults.append(
            f"{folder}/prompt: edit_image_prompt.txt and edit_image_prompt.{UNNAMED}.txt are the "
            "same edit; rename one"
        )
    for filled in (images, prompts, words):
        faults += filled.faults
        notices += [*filled.notices, *(line for _, line in filled.unused)]
    faults += _lacking(edits.values(), [*images.unused, *prompts.unused, *words.unused])
    source = prompts.paths.get(_SOURCE.name)
    return Case(name, image, source, edits, settings, tuple(faults)), notices


def _lacking(edits: Iterable[Edit], unused: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield the notices of unused files that are probably misnamed inputs of the case.

    These are files that may be the missing source prompt, or the missing mask or target word of an
    edit that would otherwise change the whole picture.
    """
    places = {
        slot.name
        for edit in edits
        if edit.goes_everywhere_unasked
        for base in (MASK, _WORD)
        for slot in _own(base, [edit.name])
    }
    yield from (line for lacking, line in unused if lacking in {*places, _SOURCE.name})


def _files(folder: Path) -> list[str]:
    """Return the names in a folder, sorted; an empty list if it is missing."""
    try:
        return sorted(path.name for path in folder.iterdir())
    except OSError:
        return []


def _prompts(folder: Path, filled: Filled, edits: Iterable[str]) -> dict[str, Path]:
    """Return edit → prompt file, the unnamed edit first.

    If there is no prompt file, the unnamed edit gets the path where its file is expected.
    """
    found = {}
    if _PROMPT.name in filled.paths:
        found[UNNAMED] = filled.paths[_PROMPT.name]
    for edit in edits:
        if path := filled.paths.get(f"{_PROMPT.name}.{edit}"):
            found.setdefault(edit, path)
    return found or {UNNAMED: folder / f"{_PROMPT.name}.txt"}


def _own(base: Slot, edits: Iterable[str]) -> list[Slot]:
    """Return the slot shared by all edits, followed by the slots of the individual edits."""
    return [base, *(replace(base, edit=edit) for edit in edits)]


def _own_or_shared(filled: Filled, base: Slot, edit: str) -> Path | None:
    """Return the edit's own file if there is one, else the shared file, else None."""
    return filled.paths.get(f"{base.name}.{edit}") or filled.paths.get(base.name)
