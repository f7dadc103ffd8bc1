"""Locks that keep commands from changing a case while a run reads it, and vice versa.

A run holds shared locks on its cases for as long as its process lives. A command that writes into a
case needs an exclusive lock. Each lock covers one byte of one file in the user's private folder, at
an offset derived from the path. One file descriptor therefore suffices for any number of cases,
nothing is written into the user's folders, and the kernel releases the locks when the process ends
for any reason. Locks are not visible to other users or on other machines.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from editinfinity.errors import UserError
from editinfinity.worker.private import private_folder

log = logging.getLogger(__name__)

_FILE = "cases-in-use"

_PATIENCE = 5.0
"""Seconds that a run waits for a command to finish writing a case, which usually takes a moment."""

_PAUSE = 0.05


def hold(paths: Iterable[Path]) -> None:
    """Lock paths against changes by commands until this process ends.

    Args:
        paths: folders of cases, or single files.

    Raises:
        UserError: a command is still changing one of them after ``_PATIENCE`` seconds.
    """
    if (handle := _held_until_the_end()) is not None:
        _lock(handle, paths, fcntl.LOCK_SH, _PATIENCE)


@contextmanager
def changing(paths: Iterable[Path]) -> Iterator[None]:
    """Lock paths exclusively: no other process reads or changes them within the block.

    Do not nest: leaving the inner block would release all locks of the process.

    Raises:
        UserError: a run reads one of them, or another command changes it.
    """
    handle = _opened()
    try:
        if handle is not None:
            _lock(handle, paths, fcntl.LOCK_EX)
        yield
    finally:
        if handle is not None:
            os.close(handle)


def of_case(folder: Path) -> list[Path]:
    """Return the paths that a command locks if it creates or changes a case: folder and files.

    The files are needed because a run with a table locks files, not folders.
    """
    return [folder, *folder.glob("image/*"), *folder.glob("prompt/*")]


def of_output(file: Path) -> list[Path]:
    """Return the paths that a command locks if it writes a picture: the file, and its case if any.

    ``data/CASE/image/mask.png`` is part of a case; ``original_image_preview.png`` beside it is not.
    """
    if file.name.partition(".")[0] not in ("original_image", "mask"):
        return [file]
    # The path must be absolute, since "mask.png" may be relative to a folder within the case.
    return [file, Path(os.path.abspath(file)).parent.parent]  # noqa: PTH100


def _lock(handle: int, paths: Iterable[Path], kind: int, patience: float = 0.0) -> None:
    """Lock the bytes that belong to some paths.

    Raises:
        UserError: another process holds a conflicting lock, even after ``patience`` seconds.
    """
    give_up = time.monotonic() + patience
    for path in paths:
        while True:
            try:
                fcntl.lockf(handle, kind | fcntl.LOCK_NB, 1, _place_of(path))
                break
            except OSError as fault:
                if fault.errno not in (errno.EAGAIN, errno.EACCES):  # no locks on this system
                    log.warning("cases in use cannot be marked: %s", fault)
                    return
            if time.monotonic() >= give_up:
                raise UserError(
                    f"{path}: is in use by a run or another command; wait for it to end"
                )
            time.sleep(_PAUSE)


def _place_of(path: Path) -> int:
    """Return the offset of the byte for a path: 56 bits of a hash, so that paths do not collide."""
    name = os.fsencode(os.path.realpath(path))
    return int.from_bytes(hashlib.sha256(name).digest()[:7], "big")


@cache
def _held_until_the_end() -> int | None:
    """Return the lock file's descriptor, opened once and never closed.

    Closing any descriptor of the file would release all locks of the process.
    """
    return _opened()


def _opened() -> int | None:
    """Open the lock file and return its descriptor; None if that is not possible."""
    try:
        handle = os.open(private_folder() / _FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.utime(handle)  # keeps cleaners of temporary files, which go by age, from deleting it
    except OSError as fault:
        log.warning("cases in use cannot be marked: %s", fault)
        return None
    return handle
