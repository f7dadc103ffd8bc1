"""Checks of user-supplied files before they are opened.

Reading a pipe or a device may never end, and a very large file fills the memory.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from editinfinity.errors import UserError
from editinfinity.names import look_of

BLEND_ENDINGS = (".npy", ".safetensors", ".png")
"""Endings of a blend mask's file: an array, a file with one tensor, a grey picture
(``editinfinity.files.blends`` reads them)."""

ANNOTATION_ENDINGS = (".json", ".xml", ".csv")
"""Endings of annotation tools' files (``editinfinity.files.annotations`` reads them)."""

_MAX_PATH = 4096
"""Maximum length of a path, in characters; Linux allows as many bytes."""

_POINTER = b"version https://git-lfs.github.com/spec/"
"""Begin of a pointer: a text of less than ``_MAX_POINTER_BYTES`` in place of a large file."""

_MAX_POINTER_BYTES = 1024

_FILE_TYPES = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}


def require_file(path: Path, limit: int, cure: str) -> None:
    """Check that a path, following links, is a regular file of at most ``limit`` bytes.

    Args:
        path: the path to check.
        limit: maximum size in bytes.
        cure: advice for the error message if there is no such file; completes "…; CURE".

    Raises:
        UserError: the path is missing, unreadable, not a regular file, too large, or a pointer of
            Git LFS.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        problem = "is a link to a missing file" if path.is_symlink() else "there is no such file"
        raise UserError(f"{path}: {problem}; {cure}") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot be read ({reason}); {cure}") from None
    if not stat.S_ISREG(status.st_mode):
        file_type = _FILE_TYPES.get(stat.S_IFMT(status.st_mode), "a device")
        raise UserError(f"{path}: is {file_type}, not a file; {cure}")
    if status.st_size > limit:
        raise UserError(
            f"{path}: has {_format_size(status.st_size)}, but the limit is {_format_size(limit)}; "
            "give a smaller file"
        )
    _refuse_git_lfs_pointer(path, status.st_size)


def refuse_git_lfs_pointers(folder: Path) -> None:
    """Raise for a folder with a pointer of Git LFS, which a library has failed to load.

    Raises:
        UserError: a file in it is a pointer.
    """
    for path in sorted(folder.iterdir()):
        if path.is_file():
            _refuse_git_lfs_pointer(path, path.stat().st_size)


def _refuse_git_lfs_pointer(path: Path, size: int) -> None:
    """Raise for the small text file that a repository has if Git LFS did not download the real one.

    Raises:
        UserError: the file is such a pointer.
    """
    if size > _MAX_POINTER_BYTES:
        return
    try:
        with path.open("rb") as file:
            is_pointer = file.read(len(_POINTER)) == _POINTER
    except OSError:  # the caller reports it when it opens the file
        return
    if is_pointer:
        raise UserError(
            f"{path}: is a Git LFS pointer, not the file itself; run `git lfs pull` in its "
            "repository, or download the file"
        )


def is_folder(path: Path) -> bool:
    """Return whether a path, following links, is a folder; False if it cannot be accessed."""
    return os.path.isdir(path)  # noqa: PTH112  # Path.is_dir raises if the name is too long


def path_on_disk(path: Path) -> Path:
    """Return a path as its folders and file are spelled on the disk.

    A name that does not exist is replaced by the only one in its folder that looks the same, such
    as one whose accents macOS has written as separate characters. Without one it is kept.
    """
    text = str(path)
    if (text.isascii() and " " not in text) or len(text) > _MAX_PATH or os.path.lexists(path):
        return path
    found = Path(path.anchor)
    for name in path.parts[bool(path.anchor) :]:
        if not os.path.lexists(found / name):
            try:
                same = _names_by_look(found, found.stat().st_mtime_ns).get(look_of(name), ())
            except (OSError, ValueError):  # ValueError: a null byte in the name
                same = ()
            name = same[0] if len(same) == 1 else name
        found /= name
    return found


@lru_cache(maxsize=64)
def _names_by_look(folder: Path, changed: int) -> Mapping[str, Sequence[str]]:
    """Return look → the names in a folder; ``changed`` is when it was last changed."""
    names = defaultdict[str, list[str]](list)
    for path in folder.iterdir():
        names[look_of(path.name)].append(path.name)
    return names


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_text(path: Path, limit: int, cure: str) -> str:
    """Read a UTF-8 text file.

    Args:
        path, limit, cure: as for ``require_file``.

    Raises:
        UserError: the file fails the checks of ``require_file``, cannot be read, or is not UTF-8.
    """
    require_file(path, limit, cure)
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); {cure}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: is not UTF-8 text; save it as UTF-8") from None


def _format_size(count: int) -> str:
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count:,} bytes"
