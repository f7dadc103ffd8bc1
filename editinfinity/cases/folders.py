"""Cases as folders, laid out as the original guide has them.

``image/original_image.{jpg,jpeg,png,webp,tif,tiff,avif}``, ``image/mask.{png,json,txt}``,
``prompt/edit_image_prompt.txt``, ``prompt/original_image_prompt.txt``, ``prompt/target_word.txt``;
an edit of its own name has ``edit_image_prompt.NAME.txt`` and may have ``mask.NAME.png`` (or .json,
.txt) and ``target_word.NAME.txt``, else the unnamed ones serve it. Names that are nearly right are
:mod:`editinfinity.files.near_names`' matter.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from editinfinity.cases.case import Case, Edit
from editinfinity.config.load import Config, ConfigError
from editinfinity.files.near_names import Filled, Slot, edits_of, fill
from editinfinity.names import printable, unfit

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".avif")
MASK_ENDINGS = (".png", ".json", ".txt")
"""A picture, polygons, a box (``editinfinity.files.masks`` reads them)."""

UNNAMED = "edit"
"""Name of the edit whose prompt file has none."""

_PICTURES = (".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".avif")
"""A mask's picture is read from these just as well, by content."""

_IMAGE = Slot("original_image", (*IMAGE_ENDINGS, *(ending.upper() for ending in IMAGE_ENDINGS)))
MASK = Slot("mask", MASK_ENDINGS, _PICTURES, has_edits=True)
_SOURCE = Slot("original_image_prompt", (".txt",), (".text", ".md"))
_PROMPT = Slot("edit_image_prompt", (".txt",), (".text", ".md"), has_edits=True)
_WORD = Slot("target_word", (".txt",), (".text", ".md"), has_edits=True)


def find_folders(data: Path) -> tuple[list[str], list[str]]:
    """(names of the cases below ``data`` in order, a line for each folder passed over).

    Raises:
        ConfigError: ``data`` is no folder that can be read.
    """
    try:
        entries = sorted(os.scandir(data), key=_name)
    except OSError as fault:
        raise ConfigError(
            [f"data: {data} cannot be listed ({fault.strerror}); set data: to the cases' folder"]
        ) from None
    names, notices = [], []
    for entry in entries:
        if entry.name.startswith(".") or not _is_folder(entry):
            continue
        shown = f"{data}/{printable(entry.name)}"
        if reason := unfit(entry.name):
            notices.append(f"{shown}: skipped, {reason}; rename the folder")
        elif not (Path(entry.path, "image").is_dir() or Path(entry.path, "prompt").is_dir()):
            notices.append(f"{shown}: skipped, it has neither image/ nor prompt/")
        else:
            names.append(entry.name)
    return names, notices


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _name(entry: os.DirEntry[str]) -> str:
    return entry.name


def read_folder(name: str, config: Config) -> tuple[Case, list[str]]:
    """(the case of a folder, a line for each file whose name is not right)."""
    folder = config.data / name
    image_folder, prompt_folder = folder / "image", folder / "prompt"
    files = _files(prompt_folder)
    named, notices = _edits(prompt_folder, files)
    files = [file for file in files if named.get(file, "") is not None]
    names = list(dict.fromkeys(edit for edit in named.values() if edit is not None))
    prompts = fill(prompt_folder, files, [_SOURCE, *_own(_PROMPT, names)])
    by_edit = _prompts(prompt_folder, prompts, names)
    words = fill(prompt_folder, files, _own(_WORD, by_edit))
    images = fill(image_folder, _files(image_folder), [_IMAGE, *_own(MASK, by_edit)])
    settings = config.of_case(name)
    edits = {
        edit: Edit(
            edit,
            prompt,
            _own_or_shared(images, MASK, edit),
            _own_or_shared(words, _WORD, edit),
            settings,
        )
        for edit, prompt in by_edit.items()
    }
    image, faults = _original(image_folder, images)
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
    """Lines of unused files that may be what an edit of everything lacks, or the source prompt."""
    places = {
        slot.name
        for edit in edits
        if edit.goes_everywhere_unasked
        for base in (MASK, _WORD)
        for slot in _own(base, [edit.name])
    }
    yield from (line for lacking, line in unused if lacking in {*places, _SOURCE.name})


def _files(folder: Path) -> list[str]:
    """Names in a folder, sorted; none where it is missing."""
    try:
        return sorted(path.name for path in folder.iterdir())
    except OSError:
        return []


def _original(folder: Path, images: Filled) -> tuple[Path, list[str]]:
    """(the photograph's path, faults); a missing one is looked for under its usual name."""
    if path := images.paths.get(_IMAGE.name):
        return path, []
    endings = ", ".join(IMAGE_ENDINGS)
    fault = f"{folder}: holds no original_image; add it with one of the endings {endings}"
    return folder / "original_image.jpg", [fault]


def _edits(folder: Path, files: list[str]) -> tuple[dict[str, str | None], list[str]]:
    """(prompt file of a named edit → its name, None where it cannot be one; notices)."""
    named, notices = dict[str, str | None](), []
    for file, edit in edits_of(files, _PROMPT).items():
        named[file] = edit
        if reason := unfit(edit):
            named[file] = None
            notices.append(f"{folder}/{printable(file)}: skipped, {reason}; rename the file")
    return named, notices


def _prompts(folder: Path, filled: Filled, edits: Sequence[str]) -> dict[str, Path]:
    """Edit → prompt file; a case without any has the unnamed one, missing."""
    usual = folder / f"{_PROMPT.name}.txt"
    found = {edit: filled.paths.get(f"{_PROMPT.name}.{edit}") for edit in edits}
    unnamed = filled.paths.get(_PROMPT.name)
    named = {edit: path for edit, path in found.items() if path is not None}
    if unnamed is not None:
        return {UNNAMED: unnamed} | {edit: path for edit, path in named.items() if edit != UNNAMED}
    return named or {UNNAMED: usual}


def _own(base: Slot, edits: Iterable[str]) -> list[Slot]:
    """A slot that serves all edits, and those of edits alone."""
    return [base, *(replace(base, edit=edit) for edit in edits)]


def _own_or_shared(filled: Filled, base: Slot, edit: str) -> Path | None:
    """The edit's own file if there is one, else the one for all, else None."""
    return filled.paths.get(f"{base.name}.{edit}") or filled.paths.get(base.name)
