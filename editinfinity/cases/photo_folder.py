"""Find the photographs in a folder, their masks, and what else in it could be taken for one.

A file is a photograph if its name ends like a picture's, or if it has no ending and its content is
a picture. Whether it can be read is found out when it is opened, so that every file that cannot is
reported with its reason. Hidden files are left out, and so are files that lie beside a photograph
and have the name of its mask (``photo_mask.png``) or of a file that editinfinity makes from it
(``photo_edited.jpg``, ``photo_preview.png``).
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from editinfinity.errors import UserError
from editinfinity.files.formats import PICTURE_ENDINGS
from editinfinity.files.input_files import ANNOTATION_ENDINGS, is_folder, path_on_disk
from editinfinity.names import look_of, shell_command

_SYSTEM_FOLDERS = frozenset(
    {"@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "__MACOSX", "lost+found"}
)
"""Folders that operating systems and file servers make: thumbnails, waste baskets, metadata."""

OTHER_MASK_ENDINGS = (*ANNOTATION_ENDINGS, ".txt")
"""Endings of masks that are no pictures: annotations and boxes."""

_MASK_NAME = re.compile(r"(.+?)[\s_.-]+masks?", re.IGNORECASE | re.DOTALL)
_MADE_NAME = re.compile(r"(.+)_(edited(_\d+)?|mask_\d+|preview)", re.DOTALL)
"""Stems of masks, and of files that ``editinfinity edit`` and ``preview`` make."""

_ByName = defaultdict[str, list[Path]]
"""Comparable name → files."""


@dataclass(frozen=True)
class Photograph:
    """A photograph to edit.

    Attributes:
        path: the file.
        folder: its folder, relative to the folder that was searched.
        mask: its mask; None if the whole picture may change.
    """

    path: Path
    folder: Path
    mask: Path | None = None


@dataclass(frozen=True)
class Unedited:
    """A file that is not edited.

    Attributes:
        path: the file.
        reason: one line that begins with the path and says why.
        is_fault: whether it should be edited but cannot; if not, it is left out on purpose.
    """

    path: Path
    reason: str
    is_fault: bool


@dataclass
class Found:
    """The content of a folder.

    Attributes:
        photographs: in the order of their paths.
        masks_beside: photograph → files beside it that have the name of its mask.
        unedited: files that could be taken for photographs, and folders that cannot be read.
        hidden: hidden files that have the ending of a picture.
        unsearched: number of subfolders that were not searched.
    """

    photographs: list[Photograph] = field(default_factory=list)
    masks_beside: dict[Path, list[Path]] = field(default_factory=dict)
    unedited: list[Unedited] = field(default_factory=list)
    hidden: list[Path] = field(default_factory=list)
    unsearched: int = 0

    def paths(self) -> set[Path]:
        """Return the paths of all photographs and unedited files."""
        return {photograph.path for photograph in self.photographs} | {
            file.path for file in self.unedited
        }


def find_photographs(folder: Path, recursive: bool, left_out: Sequence[Path] = ()) -> Found:
    """Search a folder for photographs.

    Args:
        folder: the folder.
        recursive: whether its subfolders are searched too. Each folder is searched once, even if
            links lead to it several times.
        left_out: folders that are not searched, such as the one for the results.
    """
    found = Found()
    for current, names in _listings(folder, recursive, left_out, found):
        _sort_names(current, names, current.relative_to(folder), recursive, found)
    return found


def _listings(
    folder: Path, recursive: bool, left_out: Sequence[Path], found: Found
) -> Iterator[tuple[Path, list[str]]]:
    """Yield (folder, sorted names in it) of the folders to search; linked folders come last."""
    visited = {os.path.realpath(path) for path in left_out} - {os.path.realpath(folder)}
    pending, links = [folder], list[Path]()
    while pending or links:
        current = (pending or links).pop(0)
        if (place := os.path.realpath(current)) in visited:
            continue
        visited.add(place)
        try:
            names = sorted(os.listdir(current))  # noqa: PTH208  # names, undecodable ones included
        except OSError as error:
            reason = f"{current}: cannot be listed ({error.strerror}); allow reading it"
            found.unedited.append(Unedited(current, reason, is_fault=True))
            continue
        yield current, names
        folders = [
            current / name
            for name in names
            if not name.startswith(".") and name not in _SYSTEM_FOLDERS
            if is_folder(current / name)
        ]
        if not recursive:
            found.unsearched += len(folders)
            return
        pending += [path for path in folders if not path.is_symlink()]
        links += [path for path in folders if path.is_symlink()]


def _sort_names(
    folder: Path, names: Sequence[str], relative: Path, recursive: bool, found: Found
) -> None:
    """Add what one folder contains to ``found``, by the names of its files.

    Args:
        folder, names: the folder, and the sorted names in it.
        relative: the folder, relative to the one that was searched.
        recursive: whether its subfolders are searched too.
        found: is added to.
    """
    endings = PICTURE_ENDINGS
    pictures, annotations = list[Path](), list[Path]()
    for path in (folder / name for name in names):
        ending = path.suffix.lower()
        if path.name.startswith("."):
            if ending in endings:
                found.hidden.append(path)
        elif is_folder(path):
            if ending in endings and not recursive:
                reason = f"{path}: is a folder, not a file; to edit what is in it, add --recursive"
                found.unedited.append(Unedited(path, reason, is_fault=True))
        elif ending in OTHER_MASK_ENDINGS:
            annotations.append(path)
        elif ending in endings or (not ending and _is_picture(path)):
            pictures.append(path)
        elif _is_picture(path):
            reason = f"{path}: is a picture, but its name ends in {ending}; rename it to edit it"
            found.unedited.append(Unedited(path, reason, is_fault=False))
    by_name = _ByName(list)
    for path in pictures:
        for name in {_comparable(path.name), _comparable(path.stem)}:
            by_name[name].append(path)
    for path in annotations:
        for photograph in _named_in(_MASK_NAME, path, by_name):
            found.masks_beside.setdefault(photograph, []).append(path)
    for path in pictures:
        masked = _named_in(_MASK_NAME, path, by_name)
        for photograph in masked:
            found.masks_beside.setdefault(photograph, []).append(path)
        name_of = _why_no_photograph(path, masked, _named_in(_MADE_NAME, path, by_name))
        if name_of is not None:
            found.unedited.append(Unedited(path, f"{path}: is not edited, {name_of}", False))
        else:
            found.photographs.append(Photograph(path, relative))


def _named_in(pattern: re.Pattern[str], path: Path, by_name: _ByName) -> list[Path]:
    """Return the pictures whose name the group 1 of a pattern finds in the stem of ``path``."""
    match = pattern.fullmatch(path.stem)
    others = by_name.get(_comparable(match[1]), []) if match else []
    return [other for other in others if other != path]


def _why_no_photograph(path: Path, masked: list[Path], original: list[Path]) -> str | None:
    """Return why a picture is no photograph to edit, from its name; None if it is one.

    Args:
        path: the picture.
        masked: pictures of whose mask it has the name.
        original: pictures of whose result or preview it has the name.
    """
    if _comparable(path.stem) == "mask":
        use = f"--masks {shell_command(path)}"
        return f"as its name is that of a mask; use it for every photograph by {use}, or rename it"
    if masked:
        return f"as its name is that of a mask of {masked[0].name}; rename it to edit it"
    if original:
        return f"as its name is that of a file made from {original[0].name}; rename it to edit it"
    return None


class MaskFolder:
    """A folder of masks, each named like its photograph: ``photo.png``, ``photo_mask.png``, ….

    Args:
        folder: the folder; its subfolders mirror those of the photographs.
        photographs: pictures that are never masks, as both may be in the same folder.

    Raises:
        UserError: the folder cannot be listed.
    """

    def __init__(self, folder: Path, photographs: Sequence[Photograph]) -> None:
        self.folder = folder
        self._photographs = {os.path.realpath(photograph.path) for photograph in photographs}
        self._read_folders = {Path(): self._read(folder)}

    def masks_of(self, photograph: Photograph) -> list[Path]:
        """Return the masks of a photograph, those whose name is most like its; usually one.

        Raises:
            UserError: the subfolder cannot be listed.
        """
        folder, path = photograph.folder, photograph.path
        if folder not in self._read_folders:
            self._read_folders[folder] = self._read(path_on_disk(self.folder / folder))
        for by_name in self._read_folders[folder]:
            for name in (path.name, path.stem):
                masks = by_name.get(_comparable(name), [])
                if same := [mask for mask in masks if look_of(mask.stem).startswith(look_of(name))]:
                    return same
                if masks:
                    return masks
        return []

    def _read(self, folder: Path) -> tuple[_ByName, _ByName]:
        """Return the masks in a folder by their names, and those called ``NAME_mask`` by NAME."""
        named, marked = _ByName(list), _ByName(list)
        try:
            names = sorted(os.listdir(folder))  # noqa: PTH208  # names, undecodable ones included
        except FileNotFoundError:  # a subfolder without masks
            names = []
        except OSError as error:
            reason = f"{folder}: cannot be listed ({error.strerror}); allow reading it"
            raise UserError(reason) from None
        endings = PICTURE_ENDINGS | set(OTHER_MASK_ENDINGS)
        for path in (folder / name for name in names if not name.startswith(".")):
            if path.suffix.lower() not in endings or os.path.realpath(path) in self._photographs:
                continue
            named[_comparable(path.stem)].append(path)
            if match := _MASK_NAME.fullmatch(path.stem):
                marked[_comparable(match[1])].append(path)
        return named, marked


def assign_masks(
    found: Found, masks_of: Callable[[Photograph], list[Path]], needed_in: Path | None = None
) -> None:
    """Give each photograph its mask.

    Args:
        found: the photographs; those that have several masks, lack a needed one, or whose masks
            cannot be searched for are moved to the unedited files.
        masks_of: photograph → its masks.
        needed_in: folder that must have a mask of each photograph to edit; None if it needs none.
    """
    photographs, found.photographs = found.photographs, []
    for photograph in photographs:
        path = photograph.path
        try:
            masks = masks_of(photograph)
        except UserError as error:  # of a subfolder of masks; the others may have theirs
            found.unedited.append(Unedited(path, f"{path}: is not edited; {error}", is_fault=True))
            continue
        if len(masks) > 1:
            names = ", ".join(map(str, masks))
            reason = f"{path}: has several masks ({names}); keep one of them"
            found.unedited.append(Unedited(path, reason, is_fault=True))
        elif masks and os.path.realpath(masks[0]) == os.path.realpath(path):
            found.unedited.append(
                Unedited(path, f"{path}: is not edited, as it is the mask", False)
            )
        elif needed_in and not masks:
            reason = f"{path}: is not edited, as it has no mask in {needed_in}"
            found.unedited.append(Unedited(path, reason, is_fault=False))
        else:
            found.photographs.append(replace(photograph, mask=masks[0] if masks else None))


def _is_picture(path: Path) -> bool:
    """Return whether the content of a file is a picture, whatever its name."""
    # Imported here because names decide for all usual files, and this imports Pillow and NumPy.
    from editinfinity.files.opening import is_picture

    return is_picture(path)


def _comparable(name: str) -> str:
    """Return a name so that names which look the same are equal, in any case of their letters."""
    return look_of(name).casefold()
