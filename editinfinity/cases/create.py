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

from editinfinity.cases.folders import IMAGE_ENDINGS, MASK, MASK_ENDINGS, UNNAMED_EDIT
from editinfinity.errors import UserError
from editinfinity.files.atomic import atomic_path, write_bytes, write_text
from editinfinity.files.input_files import require_file
from editinfinity.files.near_names import assign_files
from editinfinity.names import why_unusable

log = logging.getLogger(__name__)

_MAX_MASK_BYTES = 2**30
"""Maximum size of a mask file."""


@dataclass(frozen=True)
class NewEdit:
    """The edit of a new case.

    Attributes:
        prompt: description of the edited picture.
        mask: path of a picture, polygons or a box file; None for no mask.
        box: ``x,y,w,h`` in place of a mask file.
        target_word: word of the source prompt to edit.
    """

    prompt: str
    mask: Path | None = None
    box: str | None = None
    target_word: str | None = None

    @property
    def is_localised(self) -> bool:
        """Whether the edit specifies where to edit, by a mask, a box or a target word."""
        return any(value is not None for value in (self.mask, self.box, self.target_word))


def make_case(
    folder: Path,
    image: Path,
    source_prompt: str | None,
    edits: Mapping[str, NewEdit],
    overwrite: bool = False,
) -> None:
    """Write a case, leaving files that already have the right content untouched.

    Files that may have been added by hand are never lost. An edit that does not specify where to
    edit keeps the case's existing mask and target word. A mask or word that is replaced is kept
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
            already has a different photograph, or a mask that would override a new target word.
    """
    mask_files = require_creatable(folder, image, edits, overwrite)
    # With several edits, the files of the unnamed one would apply to the others too.
    is_only = len(edits) == 1 and not any((folder / "prompt").glob("edit_image_prompt.*.txt"))
    suffixes = {name: "" if name == UNNAMED_EDIT and is_only else f".{name}" for name in edits}
    _copy_image(image, folder / "image")
    if source_prompt is not None:
        write_text(folder / "prompt" / "original_image_prompt.txt", source_prompt + "\n")
    for name, edit in edits.items():
        ending = "" if name == UNNAMED_EDIT else f".{name}"
        write_text(folder / "prompt" / f"edit_image_prompt{ending}.txt", edit.prompt + "\n")
        if not overwrite and not edit.is_localised:
            for suffix in dict.fromkeys((suffixes[name], f".{name}", "")):
                for path in (*_mask_paths(folder, suffix), _word_path(folder, suffix)):
                    if path.exists():
                        message = "still limits where to edit; delete it to edit the whole picture"
                        log.warning("%s: %s", path, message)
            continue
        _keep_only(_mask_paths(folder, suffixes[name]), mask_files[name], overwrite)
        word = None if edit.target_word is None else (".txt", f"{edit.target_word}\n".encode())
        _keep_only([_word_path(folder, suffixes[name])], word, overwrite)


def require_creatable(
    folder: Path, image: Path, edits: Mapping[str, NewEdit], overwrite: bool = False
) -> dict[str, tuple[str, bytes] | None]:
    """Check that a case can be created, before any file of it or of other cases is written.

    Args:
        folder, image, edits, overwrite: see ``make_case``.

    Returns:
        Edit → (file ending, content) of its mask file; None for an edit without one.

    Raises:
        UserError: see ``make_case``.
    """
    for name in (folder.name, *edits):
        if reason := why_unusable(name):
            raise UserError(f"{name!r} cannot be a name: {reason}")
    _require_readable(image)
    mask_files = {name: _mask_file_of(edit, image) for name, edit in edits.items()}
    if not overwrite:
        for other in (folder / "image").glob("original_image.*"):
            endings = {other.suffix.lower(), image.suffix.lower()}
            if endings <= set(IMAGE_ENDINGS) and not filecmp.cmp(other, image, shallow=False):
                raise UserError(
                    f"{other}: is another photograph than {image}; choose another name for the case"
                )
        for name, edit in edits.items():
            if edit.target_word is not None and mask_files[name] is None:
                _require_no_mask(folder, name, edit.target_word)
    return mask_files


def _require_readable(image: Path) -> None:
    """Raise unless the file can be read; the case's ``check`` job validates picture and size."""
    require_file(image, sys.maxsize, "give the path of a picture")
    try:
        image.open("rb").close()
    except OSError as error:
        raise UserError(
            f"{image}: cannot be read ({error.strerror}); give the path of a picture"
        ) from None


def _mask_paths(folder: Path, suffix: str) -> list[Path]:
    """Return the paths at which an edit's mask may be; one with a nearly right name comes last.

    Args:
        folder: folder of the case.
        suffix: ``.NAME`` for the mask of one edit, empty for that of all edits.
    """
    images, slot = folder / "image", replace(MASK, edit=suffix[1:] or None)
    names = sorted(path.name for path in images.iterdir()) if images.is_dir() else []
    used = assign_files(images, names, list(dict.fromkeys((MASK, slot)))).paths.get(slot.name)
    right = [images / f"{slot.name}{ending}" for ending in MASK_ENDINGS]
    return right if used is None or used in right else [*right, used]


def _word_path(folder: Path, suffix: str) -> Path:
    """Return the path at which an edit's target word may be; ``suffix`` as in ``_mask_paths``."""
    return folder / "prompt" / f"target_word{suffix}.txt"


def _require_no_mask(folder: Path, name: str, word: str) -> None:
    """Reject a target word for an edit that has a mask, since the mask takes precedence over it.

    Raises:
        UserError: the edit has a mask, its own or that of the unnamed edit.
    """
    for mask in (*_mask_paths(folder, f".{name}"), *_mask_paths(folder, "")):
        if mask.exists():
            raise UserError(
                f"{mask}: is a mask of this edit and would override the word {word!r}; move it "
                f"away, or rename it to mask.NAME{mask.suffix} if it belongs only to an edit NAME"
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

        write_photograph(target, read_photograph(image))
    for other in folder.glob(f"{target.stem}.*"):
        if other != target and other.resolve() != image.resolve():
            other.unlink()


def _mask_file_of(edit: NewEdit, image: Path) -> tuple[str, bytes] | None:
    """Return (file ending, content) of the mask file for a case; None if there is no mask."""
    if edit.box is not None:
        return ".txt", f"{edit.box}\n".encode()
    if edit.mask is None:
        return None
    if (ending := edit.mask.suffix.lower()) not in MASK_ENDINGS:
        from editinfinity.files.opening import open_picture
        from editinfinity.files.pixels import to_grey

        buffer, picture = io.BytesIO(), open_picture(edit.mask)
        fits_png = picture.mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
        (picture if fits_png else to_grey(picture, 255)).save(buffer, "PNG")
        return ".png", buffer.getvalue()
    if ending == ".json":
        from editinfinity.files.annotations import annotations_of_photograph

        # The file may annotate several photographs. Extract the part of this one, since the case
        # stores the photograph under another name.
        if (part := annotations_of_photograph(edit.mask, image)) is not None:
            return ending, part.encode()
    require_file(edit.mask, _MAX_MASK_BYTES, "give the path of a mask")
    try:
        return ending, edit.mask.read_bytes()
    except OSError as error:
        raise UserError(f"{edit.mask}: cannot be read ({error.strerror})") from None


def _keep_only(paths: Sequence[Path], file: tuple[str, bytes] | None, overwrite: bool) -> None:
    """Keep exactly one of the alternative files, with the given (ending, content), or none.

    The file is written under the stem of ``paths[0]``, which is spelled correctly.
    """
    ending, content = file or ("", None)
    for path in paths:
        old_content = path.read_bytes() if path.is_file() else None
        new_content = content if path.name == f"{paths[0].stem}{ending}" else None
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
    stem = (
        "".join(c if why_unusable(c) is None or c in ". " else "_" for c in image.stem).strip()
        or "photo"
    )
    digest = hashlib.sha256(str(image.absolute()).encode("utf-8", "surrogatepass")).hexdigest()
    return f"{stem[:60]}-{digest[:8]}"
