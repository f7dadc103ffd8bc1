"""Cases as folders, laid out as the original guide has them.

``image/original_image.{jpg,jpeg,png,webp,tif,tiff,avif}``, ``image/mask.{png,json,txt}``,
``prompt/edit_image_prompt.txt``, ``prompt/original_image_prompt.txt``, ``prompt/target_word.txt``;
an edit of its own name has ``edit_image_prompt.NAME.txt`` and may have ``mask.NAME.png`` (or .json,
.txt) and ``target_word.NAME.txt``, else the unnamed ones serve it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from editinfinity.workflow.cases import Case, Edit
from editinfinity.workflow.config import Config, ConfigError
from editinfinity.workflow.names import printable, unfit

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".avif")
MASK_ENDINGS = (".png", ".json", ".txt")
"""A picture, polygons, a box (``editinfinity.files.masks`` reads them)."""

UNNAMED = "edit"
"""Name of the edit whose prompt file has none."""

_NAMED_PROMPT = re.compile(r"edit_image_prompt\.(.+)\.txt", re.DOTALL)


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
    """(the case of a folder, a line for each file passed over)."""
    folder = config.data / name
    images, prompts = _files(folder / "image"), _files(folder / "prompt")
    image, faults = _original(folder / "image", images)
    for file in images:
        if Path(file).stem == "mask" and Path(file).suffix not in MASK_ENDINGS:
            faults.append(
                f"{folder}/image/{printable(file)}: a mask is mask.png, mask.json (polygons of "
                "LabelMe or COCO) or mask.txt (x,y,w,h); convert it"
            )
    masks = [file for file in images if Path(file).stem == "mask"]
    if len(masks) > 1 and not faults:
        faults.append(f"{folder}/image: holds {' and '.join(masks)}; keep one")
    named, notices = _edit_prompts(folder / "prompt", prompts)
    settings = config.of_case(name)
    edits = {
        edit: Edit(
            edit,
            prompt,
            _own_or_shared(folder / "image", images, "mask", edit, *MASK_ENDINGS),
            _own_or_shared(folder / "prompt", prompts, "target_word", edit, ".txt"),
            settings,
        )
        for edit, prompt in named.items()
    }
    if f"edit_image_prompt.{UNNAMED}.txt" in prompts and "edit_image_prompt.txt" in prompts:
        faults.append(
            f"{folder}/prompt: edit_image_prompt.txt and edit_image_prompt.{UNNAMED}.txt are the "
            "same edit; rename one"
        )
    source = folder / "prompt" / "original_image_prompt.txt"
    has_source = source.name in prompts
    case = Case(name, image, source if has_source else None, edits, settings, tuple(faults))
    return case, notices


def _files(folder: Path) -> list[str]:
    """Names in a folder, sorted; none where it is missing."""
    try:
        return sorted(path.name for path in folder.iterdir())
    except OSError:
        return []


def _original(folder: Path, files: list[str]) -> tuple[Path, list[str]]:
    """(the photograph's path, faults); a missing one is looked for under its usual name."""
    originals = [
        file
        for file in files
        if Path(file).stem == "original_image" and Path(file).suffix.lower() in IMAGE_ENDINGS
    ]
    if not originals:
        endings = ", ".join(IMAGE_ENDINGS)
        fault = f"{folder}: holds no original_image; add it with one of the endings {endings}"
        return folder / "original_image.jpg", [fault]
    originals.sort(key=_preference)
    if len(originals) > 1:
        fault = f"{folder}: holds {' and '.join(originals)}; keep the one to edit"
        return folder / originals[0], [fault]
    return folder / originals[0], []


def _preference(file: str) -> tuple[int, str]:
    return IMAGE_ENDINGS.index(Path(file).suffix.lower()), file


def _edit_prompts(folder: Path, files: list[str]) -> tuple[dict[str, Path], list[str]]:
    """(edit's name → prompt file, notices); a case without any has the unnamed one, missing."""
    named, notices = {}, []
    if "edit_image_prompt.txt" in files:
        named[UNNAMED] = folder / "edit_image_prompt.txt"
    for file in files:
        if not (match := _NAMED_PROMPT.fullmatch(file)):
            continue
        name = match[1]
        if reason := unfit(name):
            notices.append(f"{folder}/{printable(file)}: skipped, {reason}; rename the file")
        else:
            named.setdefault(name, folder / file)
    return named or {UNNAMED: folder / "edit_image_prompt.txt"}, notices


def _own_or_shared(
    folder: Path, files: list[str], stem: str, edit: str, *endings: str
) -> Path | None:
    """``stem.EDIT.ending`` if there is one, else ``stem.ending``, else None."""
    for name in (f"{stem}.{edit}", stem):
        for ending in endings:
            if f"{name}{ending}" in files:
                return folder / f"{name}{ending}"
    return None
