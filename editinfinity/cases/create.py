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

from editinfinity.cases.folders import IMAGE_ENDINGS, MASK, MASK_ENDINGS, UNNAMED
from editinfinity.errors import UserError
from editinfinity.files.atomic import atomic_path, write_bytes, write_text
from editinfinity.files.input_files import require_file
from editinfinity.files.near_names import fill
from editinfinity.names import why_unusable

log = logging.getLogger(__name__)

_LARGEST_MASK = 2**30


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
    def has_place(self) -> bool:
        """Whether the edit specifies where to edit, by a mask, a box or a target word."""
        return any(place is not None for place in (self.mask, self.box, self.target_word))


def make_case(
    folder: Path,
    image: Path,
    source_prompt: str | None,
    edits: Mapping[str, NewEdit],
    ours: bool = False,
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
        ours: the folder contains only copies, and is overwritten to match the arguments exactly.

    Raises:
        UserError: a name is not usable, a file is missing or of an unsupported kind, or the case
            already has a different photograph, or a mask that would override a new target word.
    """
    places = require_makeable(folder, image, edits, ours)
    # With several edits, the files of the unnamed one would apply to the others too.
    alone = len(edits) == 1 and not any((folder / "prompt").glob("edit_image_prompt.*.txt"))
    stems = {name: "" if name == UNNAMED and alone else f".{name}" for name in edits}
    _copy_image(image, folder / "image")
    if source_prompt is not None:
        write_text(folder / "prompt" / "original_image_prompt.txt", source_prompt + "\n")
    for name, edit in edits.items():
        ending = "" if name == UNNAMED else f".{name}"
        write_text(folder / "prompt" / f"edit_image_prompt{ending}.txt", edit.prompt + "\n")
        if not ours and not edit.has_place:
            for stem in dict.fromkeys((stems[name], f".{name}", "")):
                for kept in (*_masks(folder, stem), _word(folder, stem)):
                    if kept.exists():
                        said = "stays, and says where to edit; delete it to edit all"
                        log.warning("%s: %s", kept, said)
            continue
        _set_one_of(_masks(folder, stems[name]), places[name], ours)
        word = None if edit.target_word is None else (".txt", f"{edit.target_word}\n".encode())
        _set_one_of([_word(folder, stems[name])], word, ours)


def require_makeable(
    folder: Path, image: Path, edits: Mapping[str, NewEdit], ours: bool = False
) -> dict[str, tuple[str, bytes] | None]:
    """Check that a case can be created, before any file of it or of other cases is written.

    Args:
        folder, image, edits, ours: see ``make_case``.

    Returns:
        Edit → (file ending, content) of its mask file; None for an edit without one.

    Raises:
        UserError: see ``make_case``.
    """
    for name in (folder.name, *edits):
        if reason := why_unusable(name):
            raise UserError(f"{name!r} cannot be a name: {reason}")
    _require_readable(image)
    places = {name: _place_of(edit, image) for name, edit in edits.items()}
    if not ours:
        for other in (folder / "image").glob("original_image.*"):
            endings = {other.suffix.lower(), image.suffix.lower()}
            if endings <= set(IMAGE_ENDINGS) and not filecmp.cmp(other, image, shallow=False):
                raise UserError(
                    f"{other}: is another photograph than {image}; choose another name for the case"
                )
        for name, edit in edits.items():
            if edit.target_word is not None and places[name] is None:
                _require_no_mask(folder, name, edit.target_word)
    return places


def _require_readable(image: Path) -> None:
    """Raise unless the file can be read; the case's ``check`` job validates picture and size."""
    require_file(image, sys.maxsize, "give the path of a picture")
    try:
        image.open("rb").close()
    except OSError as error:
        raise UserError(
            f"{image}: cannot be read ({error.strerror}); give the path of a picture"
        ) from None


def _masks(folder: Path, stem: str) -> list[Path]:
    """Return the files of a case that may hold an edit's mask; a nearly right name comes last."""
    images, own = folder / "image", replace(MASK, edit=stem[1:] or None)
    names = [path.name for path in images.iterdir()] if images.is_dir() else []
    near = fill(images, sorted(names), list(dict.fromkeys((MASK, own)))).paths.get(own.name)
    right = [images / f"{own.name}{ending}" for ending in MASK_ENDINGS]
    return right if near is None or near in right else [*right, near]


def _word(folder: Path, stem: str) -> Path:
    """Return the file of a case that may hold an edit's target word."""
    return folder / "prompt" / f"target_word{stem}.txt"


def _require_no_mask(folder: Path, name: str, word: str) -> None:
    """Reject a target word for an edit that has a mask, since the mask takes precedence over it.

    Raises:
        UserError: the edit has a mask, its own or that of the unnamed edit.
    """
    for mask in (*_masks(folder, f".{name}"), *_masks(folder, "")):
        if mask.exists():
            raise UserError(
                f"{mask}: is a mask of this edit, which goes before the word {word!r}; move it "
                f"away, or rename it mask.NAME{mask.suffix} if it is only the edit NAME's"
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


def _place_of(edit: NewEdit, image: Path) -> tuple[str, bytes] | None:
    """Return (file ending, content) of the mask file for a case; None if there is no mask."""
    if edit.box is not None:
        return ".txt", f"{edit.box}\n".encode()
    if edit.mask is None:
        return None
    if (ending := edit.mask.suffix.lower()) not in MASK_ENDINGS:
        from editinfinity.files.opening import open_picture
        from editinfinity.files.pixels import to_grey

        buffer, picture = io.BytesIO(), open_picture(edit.mask)
        of_png = picture.mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
        (picture if of_png else to_grey(picture, 255)).save(buffer, "PNG")
        return ".png", buffer.getvalue()
    if ending == ".json":
        from editinfinity.files.annotations import annotations_of_photograph

        # The file may annotate several photographs. Extract the part of this one, since the case
        # stores the photograph under another name.
        if (part := annotations_of_photograph(edit.mask, image)) is not None:
            return ending, part.encode()
    require_file(edit.mask, _LARGEST_MASK, "give the path of a mask")
    try:
        return ending, edit.mask.read_bytes()
    except OSError as error:
        raise UserError(f"{edit.mask}: cannot be read ({error.strerror})") from None


def _set_one_of(paths: Sequence[Path], place: tuple[str, bytes] | None, ours: bool) -> None:
    """Keep exactly one of the alternative files, with the given (ending, content), or none.

    The file is written under the stem of ``paths[0]``, which is spelled correctly.
    """
    ending, content = place or ("", None)
    for path in paths:
        there = path.read_bytes() if path.is_file() else None
        wanted = content if path.name == f"{paths[0].stem}{ending}" else None
        if there == wanted:
            continue
        if there is not None and ours:
            path.unlink()
        elif there is not None:
            log.warning("%s: gives way to the new one; it is kept as %s", path, _kept(path))
        if wanted is not None:
            write_bytes(path, wanted)


def _kept(path: Path) -> str:
    """Rename a file so that no edit uses it any more, and return its new name."""
    kept, number = path.with_name(f"old_{path.name}"), 1
    while kept.exists():
        number += 1
        kept = path.with_name(f"old_{number}_{path.name}")
    path.rename(kept)
    return kept.name


def case_name(image: Path) -> str:
    """Return a case name for a photograph: its stem, and 8 hex digits that depend on its path."""
    stem = (
        "".join(c if why_unusable(c) is None or c in ". " else "_" for c in image.stem).strip()
        or "photo"
    )
    place = hashlib.sha256(str(image.absolute()).encode("utf-8", "surrogatepass")).hexdigest()
    return f"{stem[:60]}-{place[:8]}"
