"""Case folders made from photographs that lie anywhere, laid out as the workflow reads them."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from editinfinity.errors import UserError
from editinfinity.files.atomic import atomic_path, write_text
from editinfinity.workflow.folders import IMAGE_ENDINGS, MASK_ENDINGS, UNNAMED
from editinfinity.workflow.names import unfit


@dataclass(frozen=True)
class NewEdit:
    """What a new case's edit is to be.

    Attributes:
        prompt: what the edited picture shows.
        mask: a picture, polygons or a box's file; None for none.
        box: ``x,y,w,h`` instead of a mask's file.
        target_word: word of the source prompt to edit.
    """

    prompt: str
    mask: Path | None = None
    box: str | None = None
    target_word: str | None = None


def make_case(
    folder: Path, image: Path, source_prompt: str | None, edits: Mapping[str, NewEdit]
) -> None:
    """Write a case; what is there already and the same is left alone.

    Args:
        folder: of the case, e.g. ``data/holiday``.
        image: the photograph, which is copied.
        source_prompt: what it shows; None leaves one that is there.
        edits: name → edit; ``edit`` is the unnamed one.

    Raises:
        UserError: a name cannot be used, or a file is missing or of a kind no case can have.
    """
    for name in (folder.name, *edits):
        if reason := unfit(name):
            raise UserError(f"{name!r} cannot be a name: {reason}")
    _copy_image(image, folder / "image")
    if source_prompt is not None:
        write_text(folder / "prompt" / "original_image_prompt.txt", source_prompt + "\n")
    for name, edit in edits.items():
        ending = "" if name == UNNAMED else f".{name}"
        write_text(folder / "prompt" / f"edit_image_prompt{ending}.txt", edit.prompt + "\n")
        _set_mask(folder / "image", f"mask{ending}", edit, image)
        word = folder / "prompt" / f"target_word{ending}.txt"
        word.unlink(missing_ok=True)
        if edit.target_word is not None:
            write_text(word, edit.target_word + "\n")


def _copy_image(image: Path, folder: Path) -> None:
    ending = image.suffix.lower()
    # A kind that a case cannot hold still opens: it comes in as PNG.
    target = folder / f"original_image{ending if ending in IMAGE_ENDINGS else '.png'}"
    if ending in IMAGE_ENDINGS:
        if image.resolve().parent == folder.resolve() and image.stem == target.stem:
            return  # it is there already, its ending in capitals perhaps
        _copy(image, target)
    else:
        from editinfinity.files.photograph import read_photograph
        from editinfinity.files.writing import write_photograph

        write_photograph(target, read_photograph(image))
    for other in folder.glob(f"{target.stem}.*"):
        if other != target and other.resolve() != image.resolve():
            other.unlink()


def require_same_photograph(folder: Path, image: Path) -> None:
    """Keep a case from getting another photograph than it has.

    Args:
        folder: the case's, there or not.
        image: the photograph.

    Raises:
        UserError: it has another.
    """
    for other in (folder / "image").glob("original_image.*"):
        endings = {other.suffix.lower(), image.suffix.lower()}
        if endings <= set(IMAGE_ENDINGS) and _digest(other) != _digest(image):
            raise UserError(
                f"{other}: is another photograph than {image}; choose another name for the case"
            )


def _set_mask(folder: Path, stem: str, edit: NewEdit, image: Path) -> None:
    wanted: Path | None = None
    if edit.box is not None:
        wanted = folder / f"{stem}.txt"
        write_text(wanted, edit.box + "\n")
    elif edit.mask is not None:
        ending = edit.mask.suffix.lower()
        wanted = folder / f"{stem}{ending if ending in MASK_ENDINGS else '.png'}"
        if ending == ".json" and (part := _part_of_annotations(edit.mask, image)) is not None:
            write_text(wanted, part)
        elif ending in MASK_ENDINGS:
            _copy(edit.mask, wanted)
        else:
            from editinfinity.files.images import write_png
            from editinfinity.files.opening import open_picture

            write_png(wanted, open_picture(edit.mask))
    for ending in MASK_ENDINGS:
        if (other := folder / f"{stem}{ending}") != wanted:
            other.unlink(missing_ok=True)


def _part_of_annotations(mask: Path, image: Path) -> str | None:
    """A photograph's own part of a file of several: in its case it goes by another name."""
    from editinfinity.files.annotations import annotations_of_one

    return annotations_of_one(mask, image)


def _copy(source: Path, target: Path) -> None:
    """Copy a file unless it is there already, byte for byte."""
    try:
        if target.is_file() and _digest(source) == _digest(target):
            return
        with atomic_path(target) as temporary:
            shutil.copyfile(source, temporary)
    except FileNotFoundError:
        raise UserError(f"{source}: there is no such file; give the path of a picture") from None
    except OSError as error:
        raise UserError(f"{source}: cannot be copied ({error.strerror})") from None


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def case_name(image: Path) -> str:
    """A name for the case of a photograph: its own, and a few digits of where it lies."""
    stem = (
        "".join(c if unfit(c) is None or c in ". " else "_" for c in image.stem).strip() or "photo"
    )
    place = hashlib.sha256(str(image.absolute()).encode("utf-8", "surrogatepass")).hexdigest()
    return f"{stem[:60]}-{place[:8]}"
