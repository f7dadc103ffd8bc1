"""Cases as folders, in the layout of the original guide.

A case has ``image/original_image.jpg`` (or with another of ``IMAGE_ENDINGS``),
``image/mask.{png,json,xml,csv,txt}``, ``image/blend.{npy,safetensors,png}``,
``prompt/edit_image_prompt.txt``, ``prompt/original_image_prompt.txt`` and
``prompt/target_word.txt``. A named edit has ``edit_image_prompt.NAME.txt``. It may have its own
``mask.NAME.png`` (or .json, .xml, .csv, .txt), ``blend.NAME.npy`` (or .safetensors, .png) and
``target_word.NAME.txt``; otherwise it uses the unnamed ones. :mod:`editinfinity.files.near_names`
handles file names that are nearly right.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from editinfinity.cases.case import Case, Edit
from editinfinity.config.load import Config, ConfigError
from editinfinity.files.formats import IMAGE_ENDINGS
from editinfinity.files.input_files import ANNOTATION_ENDINGS, BLEND_ENDINGS, is_folder
from editinfinity.files.near_names import AssignedFiles, Slot, assign_files, edit_names
from editinfinity.names import printable, why_unusable

MASK_ENDINGS = (".png", *ANNOTATION_ENDINGS, ".txt")
"""Endings of mask files: picture, annotations, box (read by ``editinfinity.files.masks``)."""

UNNAMED_EDIT = "edit"
"""Name of the edit whose prompt file names no edit."""

_PICTURES = tuple(ending for ending in IMAGE_ENDINGS if ending not in MASK_ENDINGS)
"""Further endings accepted for a mask picture; its format is detected from the content."""

_IMAGE = Slot("original_image", (*IMAGE_ENDINGS, *(ending.upper() for ending in IMAGE_ENDINGS)))
MASK = Slot("mask", MASK_ENDINGS, _PICTURES, per_edit=True)
BLEND = Slot("blend", BLEND_ENDINGS, per_edit=True)
_SOURCE = Slot("original_image_prompt", (".txt",), (".text", ".md"))
_PROMPT = Slot("edit_image_prompt", (".txt",), (".text", ".md"), per_edit=True)
_WORD = Slot("target_word", (".txt",), (".text", ".md"), per_edit=True)


def find_folders(data: Path) -> tuple[list[str], list[str]]:
    """Return (names of the cases below ``data`` in order, one line for each folder skipped).

    Raises:
        ConfigError: ``data`` is not a readable folder.
    """
    try:
        entries = sorted(path for path in data.iterdir() if not path.name.startswith("."))
    except FileNotFoundError:
        raise ConfigError(
            [
                f"data: there is no folder {data}; make a case in it with `editinfinity new`, or "
                "set data: to the cases' folder"
            ]
        ) from None
    except OSError as error:
        raise ConfigError(
            [f"data: {data} cannot be listed ({error.strerror}); set data: to the cases' folder"]
        ) from None
    names, notices = [], []
    for folder in entries:
        path = f"{data}/{printable(folder.name)}"
        if not is_folder(folder):
            if folder.is_symlink() and not os.path.exists(folder):  # noqa: PTH110
                notices.append(
                    f"{path}: skipped, it is a link to a missing folder; delete the link"
                )
        elif reason := why_unusable(folder.name):
            notices.append(f"{path}: skipped, {reason}; rename the folder")
        elif not (is_folder(folder / "image") or is_folder(folder / "prompt")):
            notices.append(f"{path}: skipped, {_why_empty(folder)}")
        else:
            names.append(folder.name)
    return names, notices


def _why_empty(folder: Path) -> str:
    """Return why a folder is no case."""
    try:
        os.listdir(folder)  # noqa: PTH208  # names are not needed
    except OSError as error:
        return f"it cannot be listed ({error.strerror}); allow reading it"
    return "it has neither image/ nor prompt/"


def read_folder(name: str, config: Config) -> tuple[Case, list[str]]:
    """Return (the case of a folder, one message for each file whose name is not correct)."""
    folder = config.data / name
    image_folder, prompt_folder = folder / "image", folder / "prompt"
    files, images_found = _files(prompt_folder), _files(image_folder)
    edits_found, notices = list[str](), list[str]()
    for file, edit in edit_names(files, _PROMPT).items():
        if reason := why_unusable(edit):
            files.remove(file)
            notices.append(f"{prompt_folder}/{printable(file)}: skipped, {reason}; rename the file")
        elif edit not in edits_found:
            edits_found.append(edit)
    prompts = assign_files(prompt_folder, files, [_SOURCE, *_slots_of(_PROMPT, edits_found)])
    by_edit = _prompt_files(prompt_folder, prompts, edits_found)
    words = assign_files(prompt_folder, files, _slots_of(_WORD, by_edit))
    image_slots = [_IMAGE, *_slots_of(MASK, by_edit), *_slots_of(BLEND, by_edit)]
    images = assign_files(image_folder, images_found, image_slots)
    prompt_slots = [_SOURCE, *_slots_of(_PROMPT, by_edit), *_slots_of(_WORD, by_edit)]
    misplaced = _misplaced(
        {folder: _files(folder), image_folder: images_found, prompt_folder: files},
        {image_folder: image_slots, prompt_folder: prompt_slots},
        found={*images.paths, *prompts.paths, *words.paths},
    )
    settings = config.settings_of(name)
    edits = {}
    for edit, prompt in by_edit.items():
        mask, word = _file_of_edit(images, MASK, edit), _file_of_edit(words, _WORD, edit)
        blend = _file_of_edit(images, BLEND, edit)
        edits[edit] = Edit(edit, prompt, mask, word, settings, blend)
    image, faults = images.paths.get(_IMAGE.name), list[str]()
    if image is None:
        image = image_folder / "original_image.jpg"  # usual name, for messages
        endings = ", ".join(IMAGE_ENDINGS)
        faults.append(
            f"{image_folder}: has no original_image; add it with one of the endings {endings}"
        )
    if {_PROMPT.name, f"{_PROMPT.name}.{UNNAMED_EDIT}"} <= prompts.paths.keys():
        faults.append(
            f"{folder}/prompt: edit_image_prompt.txt and edit_image_prompt.{UNNAMED_EDIT}.txt are "
            "the same edit; rename one"
        )
    unused = [*images.unused, *prompts.unused, *words.unused, *misplaced]
    for assigned in (images, prompts, words):
        faults += assigned.faults
        notices += assigned.notices
    notices += [line for _, line in unused]
    faults += _misnamed_inputs(edits.values(), unused)
    source = prompts.paths.get(_SOURCE.name)
    return Case(name, image, source, edits, settings, tuple(faults)), notices


def _misnamed_inputs(edits: Iterable[Edit], unused: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield the messages about unused files that are probably misnamed inputs of the case.

    These are files that may be the missing source prompt, or the missing mask, blend mask or target
    word of an edit that would otherwise change the whole picture.
    """
    empty_slots = {
        slot.name
        for edit in edits
        if edit.edits_everything_by_default
        for shared in (MASK, BLEND, _WORD)
        for slot in _slots_of(shared, [edit.name])
    }
    yield from (line for slot_name, line in unused if slot_name in {*empty_slots, _SOURCE.name})


def _misplaced(
    files: Mapping[Path, list[str]], slots: Mapping[Path, list[Slot]], found: Collection[str]
) -> Iterator[tuple[str, str]]:
    """Yield (slot name, message) for each missing file that lies in another folder of the case.

    Args:
        files: folder → its files.
        slots: folder → the files that belong there.
        found: names of the slots that have a file.
    """
    for home, its_slots in slots.items():
        missing = [slot for slot in its_slots if slot.name not in found]
        for folder in (folder for folder in files if folder != home):
            for slot_name, path in assign_files(folder, files[folder], missing).paths.items():
                shown = printable(str(path))
                line = f"{shown}: is not used, because it is not in {home.name}/; move it there"
                yield slot_name, line


def _files(folder: Path) -> list[str]:
    """Return the names in a folder, sorted; an empty list if it is missing."""
    try:
        return sorted(path.name for path in folder.iterdir())
    except OSError:
        return []


def _prompt_files(folder: Path, assigned: AssignedFiles, edits: Iterable[str]) -> dict[str, Path]:
    """Return edit → prompt file, the unnamed edit first.

    If there is no prompt file, the unnamed edit gets the path where its file is expected.
    """
    prompt_files = {}
    if _PROMPT.name in assigned.paths:
        prompt_files[UNNAMED_EDIT] = assigned.paths[_PROMPT.name]
    for edit in edits:
        if path := assigned.paths.get(f"{_PROMPT.name}.{edit}"):
            prompt_files.setdefault(edit, path)
    return prompt_files or {UNNAMED_EDIT: folder / f"{_PROMPT.name}.txt"}


def _slots_of(shared: Slot, edits: Iterable[str]) -> list[Slot]:
    """Return the slot shared by all edits, followed by the slots of the individual edits."""
    return [shared, *(replace(shared, edit=edit) for edit in edits)]


def _file_of_edit(assigned: AssignedFiles, shared: Slot, edit: str) -> Path | None:
    """Return the edit's own file if there is one, else the shared file, else None."""
    return assigned.paths.get(f"{shared.name}.{edit}") or assigned.paths.get(shared.name)
