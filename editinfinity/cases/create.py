"""Case folders made from photographs that lie anywhere, laid out as the workflow reads them."""

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

    @property
    def has_place(self) -> bool:
        """Whether it says where to edit."""
        return any(place is not None for place in (self.mask, self.box, self.target_word))


def make_case(
    folder: Path,
    image: Path,
    source_prompt: str | None,
    edits: Mapping[str, NewEdit],
    ours: bool = False,
) -> None:
    """Write a case; what is there already and the same is left alone.

    What somebody may have put there by hand is never lost: an edit that does not say where keeps
    the place it has, and a mask or word that gives way is kept as ``old_…``. Both are told in a
    line.

    Args:
        folder: of the case, e.g. ``data/holiday``.
        image: the photograph, which is copied.
        source_prompt: what it shows; None leaves one that is there.
        edits: name → edit; ``edit`` is the unnamed one.
        ours: the folder holds nothing but copies, and becomes exactly what is given.

    Raises:
        UserError: a name cannot be used, a file is missing or of a kind no case can have, or the
            case has another photograph, or a mask that a target word cannot prevail against.
    """
    places = require_makeable(folder, image, edits, ours)
    # Of several edits, what the unnamed one has would serve the others too.
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
    """Make sure that a case can be made, before anything of it or of others is written.

    Args:
        folder, image, edits, ours: as of ``make_case``.

    Returns:
        Edit → (ending, content) of its mask's file, None where there is to be none.

    Raises:
        UserError: as ``make_case``.
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
    """Whether it is a picture, and not too large a one, is for the case's check to say."""
    require_file(image, sys.maxsize, "give the path of a picture")
    try:
        image.open("rb").close()
    except OSError as error:
        raise UserError(
            f"{image}: cannot be read ({error.strerror}); give the path of a picture"
        ) from None


def _masks(folder: Path, stem: str) -> list[Path]:
    """The files of a case that may hold an edit's mask, one whose name is nearly right at last."""
    images, own = folder / "image", replace(MASK, edit=stem[1:] or None)
    names = [path.name for path in images.iterdir()] if images.is_dir() else []
    near = fill(images, sorted(names), list(dict.fromkeys((MASK, own)))).paths.get(own.name)
    right = [images / f"{own.name}{ending}" for ending in MASK_ENDINGS]
    return right if near is None or near in right else [*right, near]


def _word(folder: Path, stem: str) -> Path:
    """The file of a case that may hold an edit's target word."""
    return folder / "prompt" / f"target_word{stem}.txt"


def _require_no_mask(folder: Path, name: str, word: str) -> None:
    """A mask goes before a word, which would then do nothing.

    Raises:
        UserError: the edit has a mask, its own or the one of the unnamed edit.
    """
    for mask in (*_masks(folder, f".{name}"), *_masks(folder, "")):
        if mask.exists():
            raise UserError(
                f"{mask}: is a mask of this edit, which goes before the word {word!r}; move it "
                f"away, or rename it mask.NAME{mask.suffix} if it is only the edit NAME's"
            )


def _copy_image(image: Path, folder: Path) -> None:
    ending = image.suffix.lower()
    # A kind that a case cannot hold still opens: it comes in as PNG.
    target = folder / f"original_image{ending if ending in IMAGE_ENDINGS else '.png'}"
    if ending in IMAGE_ENDINGS:
        if image.resolve().parent == folder.resolve() and image.stem == target.stem:
            return  # it is there already, its ending in capitals perhaps
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
    """(ending, content) of the mask's file in a case; None where there is to be none."""
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
        from editinfinity.files.annotations import annotations_of_one

        # Of a file of several photographs, for in its case this one goes by another name.
        if (part := annotations_of_one(edit.mask, image)) is not None:
            return ending, part.encode()
    require_file(edit.mask, _LARGEST_MASK, "give the path of a mask")
    try:
        return ending, edit.mask.read_bytes()
    except OSError as error:
        raise UserError(f"{edit.mask}: cannot be read ({error.strerror})") from None


def _set_one_of(paths: Sequence[Path], place: tuple[str, bytes] | None, ours: bool) -> None:
    """Have of files one alone, (ending, content), or none; the first has the name without slips."""
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
    """Rename a file to where no edit looks for one; its new name."""
    kept, number = path.with_name(f"old_{path.name}"), 1
    while kept.exists():
        number += 1
        kept = path.with_name(f"old_{number}_{path.name}")
    path.rename(kept)
    return kept.name


def case_name(image: Path) -> str:
    """A name for the case of a photograph: its own, and a few digits of where it lies."""
    stem = (
        "".join(c if why_unusable(c) is None or c in ". " else "_" for c in image.stem).strip()
        or "photo"
    )
    place = hashlib.sha256(str(image.absolute()).encode("utf-8", "surrogatepass")).hexdigest()
    return f"{stem[:60]}-{place[:8]}"
