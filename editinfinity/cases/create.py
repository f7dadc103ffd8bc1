"""Create case folders from photographs at any path, in the layout that the workflow reads."""

from __future__ import annotations

import filecmp
import hashlib
import io
import logging
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from editinfinity.cases.folders import BLEND, MASK, MASK_ENDINGS, UNNAMED_EDIT
from editinfinity.errors import UserError
from editinfinity.files.atomic import atomic_path, write_bytes, write_text
from editinfinity.files.formats import IMAGE_ENDINGS
from editinfinity.files.input_files import (
    ANNOTATION_ENDINGS,
    BLEND_ENDINGS,
    path_on_disk,
    require_file,
)
from editinfinity.files.near_names import Slot, assign_files
from editinfinity.names import look_of, shell_command, why_unusable, yaml_text

if TYPE_CHECKING:
    from PIL import Image

log = logging.getLogger(__name__)

File = tuple[str, bytes]
"""Ending and content of a file."""

_MAX_MASK_BYTES = 2**30
"""Maximum size of a mask file."""


_MAX_STEM_BYTES = 60
"""Maximum length of the part of a case's name that is taken from a photograph's, in bytes."""


@dataclass(frozen=True)
class NewEdit:
    """The edit of a new case.

    Attributes:
        prompt: description of the edited picture.
        mask: path of a picture, polygons or a box file; None for no mask.
        box: ``x,y,w,h`` in place of a mask file.
        target_word: word of the source prompt to edit.
        blend: path of a blend mask of the user's own, in place of a mask.
    """

    prompt: str
    mask: Path | None = None
    box: str | None = None
    target_word: str | None = None
    blend: Path | None = None

    @property
    def is_localised(self) -> bool:
        """Whether the edit specifies where to edit, by a mask, a box, a word or a blend mask."""
        return any(v is not None for v in (self.mask, self.box, self.target_word, self.blend))


def source_prompt_of(folder: Path) -> str | None:
    """Return the source prompt that ``make_case`` wrote into a case; None if there is none."""
    try:
        text = (folder / "prompt" / "original_image_prompt.txt").read_bytes().decode()
    except (OSError, UnicodeDecodeError):
        return None
    return text.removesuffix("\n")


def make_case(
    folder: Path,
    image: Path,
    source_prompt: str | None,
    edits: Mapping[str, NewEdit],
    overwrite: bool = False,
) -> None:
    """Write a case, leaving files that already have the right content untouched.

    Files that may have been added by hand are never lost. An edit that does not specify where to
    edit keeps the case's existing mask, blend mask and target word. One that is replaced is kept
    under the name ``old_…``. A warning is logged in both cases.

    Args:
        folder: folder of the case, e.g. ``data/holiday``.
        image: the photograph, which is copied.
        source_prompt: description of the photograph; None keeps an existing one.
        edits: edits by name; ``edit`` is the unnamed one.
        overwrite: whether files that differ are replaced without a warning or backup; for a folder
            that contains only copies.

    Raises:
        UserError: a name is not usable, a file is missing or of an unsupported kind, or the case
            already has a different photograph, or a file that would take precedence over a new one.
    """
    files = require_creatable(folder, image, edits, overwrite)
    # With several edits, the files of the unnamed one would apply to the others too.
    is_only = len(edits) == 1 and not any((folder / "prompt").glob("edit_image_prompt.*.txt"))
    suffixes = {name: "" if name == UNNAMED_EDIT and is_only else f".{name}" for name in edits}
    _copy_image(image, folder / "image")
    if source_prompt is not None:
        write_text(folder / "prompt" / "original_image_prompt.txt", source_prompt + "\n")
    for name, edit in edits.items():
        ending = "" if name == UNNAMED_EDIT else f".{name}"
        prompt = path_on_disk(folder / "prompt" / f"edit_image_prompt{ending}.txt")
        write_text(prompt, edit.prompt + "\n")
        if not overwrite and not edit.is_localised:
            for suffix in dict.fromkeys((suffixes[name], f".{name}", "")):
                for path in _paths_of_places(folder, suffix):
                    if path.exists():
                        message = "still limits where to edit; delete it to edit the whole picture"
                        log.warning("%s: %s", path, message)
            continue
        mask, blend = files[name]
        _keep_only(_image_paths(folder, MASK, suffixes[name]), mask, overwrite)
        _keep_only(_image_paths(folder, BLEND, suffixes[name]), blend, overwrite)
        word = None if edit.target_word is None else (".txt", f"{edit.target_word}\n".encode())
        _keep_only([_word_path(folder, suffixes[name])], word, overwrite)


def require_creatable(
    folder: Path, image: Path, edits: Mapping[str, NewEdit], overwrite: bool = False
) -> dict[str, tuple[File | None, File | None]]:
    """Check that a case can be created, before any file of it or of other cases is written.

    Args:
        folder, image, edits, overwrite: see ``make_case``.

    Returns:
        Edit → (its mask file, its blend mask file), None for one that it does not have.

    Raises:
        UserError: see ``make_case``.
    """
    for name in (folder.name, *edits):
        if reason := why_unusable(name):
            raise UserError(f"{name!r} cannot be a name: {reason}")
    _require_readable(image)
    files = {name: mask_files_of(edit, image) for name, edit in edits.items()}
    if not overwrite:
        for other in (folder / "image").glob("original_image.*"):
            endings = {other.suffix.lower(), image.suffix.lower()}
            if endings <= set(IMAGE_ENDINGS) and not filecmp.cmp(other, image, shallow=False):
                raise UserError(
                    f"{other}: is another photograph than {image}; choose another name for the case"
                )
        for name, edit in edits.items():
            if edit.blend is not None or not edit.is_localised:
                continue
            has_mask = files[name][0] is not None
            new = "the new mask" if has_mask else f"the word {edit.target_word!r}"
            _require_no_precedence(folder, name, (BLEND,) if has_mask else (BLEND, MASK), new)
    return files


def _require_readable(image: Path) -> None:
    """Raise unless the file can be read; the case's ``check`` job validates picture and size."""
    require_file(image, sys.maxsize, "give the path of a picture")
    try:
        image.open("rb").close()
    except OSError as error:
        raise UserError(
            f"{image}: cannot be read ({error.strerror}); give the path of a picture"
        ) from None


def _image_paths(folder: Path, shared: Slot, suffix: str) -> list[Path]:
    """Return the paths at which an edit's mask may be; one with a nearly right name comes last.

    Args:
        folder: folder of the case.
        shared: ``MASK`` or ``BLEND``.
        suffix: ``.NAME`` for the mask of one edit, empty for that of all edits.
    """
    images, slot = folder / "image", replace(shared, edit=suffix[1:] or None)
    names = sorted(path.name for path in images.iterdir()) if images.is_dir() else []
    used = assign_files(images, names, list(dict.fromkeys((shared, slot)))).paths.get(slot.name)
    right = [path_on_disk(images / f"{slot.name}{ending}") for ending in slot.endings]
    return right if used is None or used in right else [*right, used]


def _word_path(folder: Path, suffix: str) -> Path:
    """Return the path at which an edit's target word may be; ``suffix`` as in ``_image_paths``."""
    return path_on_disk(folder / "prompt" / f"target_word{suffix}.txt")


def _paths_of_places(folder: Path, suffix: str) -> list[Path]:
    """Return the paths of all files that may limit where an edit edits."""
    paths = [path for slot in (BLEND, MASK) for path in _image_paths(folder, slot, suffix)]
    return [*paths, _word_path(folder, suffix)]


def _require_no_precedence(folder: Path, name: str, slots: Sequence[Slot], new: str) -> None:
    """Reject a mask or word for an edit that has a file which takes precedence over it.

    Args:
        folder: folder of the case.
        name: name of the edit.
        slots: the files that take precedence.
        new: what the edit would get, for the message.

    Raises:
        UserError: the edit has such a file, its own or that of the unnamed edit.
    """
    for slot in slots:
        what = "mask" if slot is MASK else "blend mask"
        for path in (*_image_paths(folder, slot, f".{name}"), *_image_paths(folder, slot, "")):
            if path.exists():
                raise UserError(
                    f"{path}: is a {what} of this edit and would override {new}; move it away, or "
                    f"rename it to {slot.stem}.NAME{path.suffix} if it belongs only to an edit NAME"
                )


def _copy_image(image: Path, folder: Path) -> None:
    ending = image.suffix.lower()
    # Other formats that can be opened are converted to PNG, as a case cannot contain them.
    target = folder / f"original_image{ending if ending in IMAGE_ENDINGS else '.png'}"
    if ending in IMAGE_ENDINGS:
        if image.resolve().parent == folder.resolve() and image.stem == target.stem:
            return  # already in place, perhaps with an upper-case ending
        try:
            if not (target.is_file() and filecmp.cmp(image, target, shallow=False)):
                with atomic_path(target) as temporary:
                    shutil.copyfile(image, temporary)
        except OSError as error:
            raise UserError(f"{image}: cannot be copied ({error.strerror})") from None
    else:
        from editinfinity.files.photograph import read_photograph
        from editinfinity.files.writing import write_photograph

        photograph = read_photograph(image)
        for message in photograph.warnings:  # the copy no longer shows them
            log.warning("%s", message)
        write_photograph(target, photograph)
    for other in folder.glob(f"{target.stem}.*"):
        if other != target and other.resolve() != image.resolve():
            other.unlink()


def _blend_file_of(edit: NewEdit) -> File | None:
    """Return the blend mask file for a case; the case's ``check`` job reads its values."""
    if edit.blend is None:
        return None
    if (ending := edit.blend.suffix.lower()) not in BLEND_ENDINGS:
        raise UserError(f"{edit.blend}: does not end in .npy, .safetensors or .png; save it as one")
    return ending, _content_of(edit.blend, "blend mask")


def mask_files_of(edit: NewEdit, image: Path) -> tuple[File | None, File | None]:
    """Return (mask file, blend mask file) of an edit in its case; None for one it does not have.

    Args:
        edit: the edit.
        image: the photograph.

    Raises:
        UserError: a file is missing or of an unsupported kind.
    """
    return _mask_file_of(edit, image), _blend_file_of(edit)


def _mask_file_of(edit: NewEdit, image: Path) -> File | None:
    """Return the mask file for a case; None if there is no mask."""
    if edit.box is not None:
        return ".txt", f"{edit.box}\n".encode()
    if edit.mask is None:
        return None
    if (ending := edit.mask.suffix.lower()) not in MASK_ENDINGS:
        from editinfinity.files.opening import open_as

        return ".png", open_as(edit.mask, _mask_as_png)
    if ending in ANNOTATION_ENDINGS:
        from editinfinity.files.annotations import annotations_of_photograph

        # The file may annotate several photographs. Extract the part of this one, since the case
        # stores the photograph under another name.
        if (part := annotations_of_photograph(edit.mask, image)) is not None:
            ending, text = part
            return ending, text.encode()
    return ending, _content_of(edit.mask, "mask")


def _mask_as_png(picture: Image.Image) -> bytes:
    """Return a mask's picture as a PNG that is read as the same mask."""
    from editinfinity.files.mask_pictures import narrowed
    from editinfinity.files.pixels import HIGH_BIT_DEPTH, is_transparent, to_grey, to_rgb

    picture = narrowed(picture)
    if picture.mode in HIGH_BIT_DEPTH and picture.mode != "I;16":
        picture = to_grey(picture, 255)
    elif picture.mode not in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        picture = picture.convert("RGBA") if is_transparent(picture) else to_rgb(picture)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def _content_of(path: Path, what: str) -> bytes:
    require_file(path, _MAX_MASK_BYTES, f"give the path of a {what}")
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None


def _keep_only(paths: Sequence[Path], file: File | None, overwrite: bool) -> None:
    """Keep exactly one of the alternative files, with the given (ending, content), or none.

    The file is written under the stem of ``paths[0]``, which is spelled correctly.
    """
    ending, content = file or ("", None)
    for path in paths:
        old_content = path.read_bytes() if path.is_file() else None
        is_new = look_of(path.name) == look_of(f"{paths[0].stem}{ending}")
        new_content = content if is_new else None
        if old_content == new_content:
            continue
        if old_content is not None and overwrite:
            path.unlink()
        elif old_content is not None:
            log.warning("%s: is replaced; the old file is kept as %s", path, _rename_to_old(path))
        if new_content is not None:
            write_bytes(path, new_content)


def _rename_to_old(path: Path) -> str:
    """Rename a file so that no edit uses it any more, and return its new name."""
    new, number = path.with_name(f"old_{path.name}"), 1
    while new.exists():
        number += 1
        new = path.with_name(f"old_{number}_{path.name}")
    path.rename(new)
    return new.name


def case_name(image: Path) -> str:
    """Return a case name for a photograph: its stem, and 8 hex digits that depend on its path."""
    usable = (
        c if c not in "<>" and (why_unusable(c) is None or c in ". ") else "_" for c in image.stem
    )
    stem = "".join(usable).strip() or "photo"
    digest = hashlib.sha256(str(image.absolute()).encode("utf-8", "surrogatepass")).hexdigest()
    while len(stem.encode()) > _MAX_STEM_BYTES:
        stem = stem[:-1]
    return f"{stem}-{digest[:8]}"


def command_for_case(case: str, data: Path = Path("data")) -> str:
    """Return the command that runs a case, ready to be pasted into a shell.

    Args:
        case: its name, which is usable (``editinfinity.names.why_unusable``).
        data: folder of the cases.
    """
    settings = [f"cases=[{yaml_text(case)}]"]
    if data != Path("data"):
        value = yaml_text(str(data))
        # Snakemake removes quotes at both ends before it reads the value as YAML.
        settings.append(f"data={value}" if value == str(data) else f"data= {value} ")
    return shell_command("editinfinity", "run", "--config", *settings)
