"""Cases that a run reads are not changed meanwhile, and none is read while it is changed.

A run shares locks on its cases for as long as its process lives; a command that writes into a case
needs the lock alone. Each lock is on one byte of one file in the user's private folder, at a place
that the path decides: a descriptor is enough for any number of cases, nothing is written into the
user's folders, and the kernel gives the locks back when the process ends, however it ends. Users
and machines do not see each other's.
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
"""Seconds that a run waits for a command to have written its case, which takes a moment."""

_PAUSE = 0.05


def hold(paths: Iterable[Path]) -> None:
    """Keep commands from changing what this process reads, until it ends.

    Args:
        paths: folders of cases, or single files.

    Raises:
        UserError: a command is changing one of them, and goes on doing so.
    """
    if (handle := _held_until_the_end()) is not None:
        _lock(handle, paths, fcntl.LOCK_SH, _PATIENCE)


@contextmanager
def changing(paths: Iterable[Path]) -> Iterator[None]:
    """Nobody reads or changes these meanwhile. Not to be nested: leaving gives all locks back.

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
    """What a command may change that makes or changes a case: its folder, and files in it.

    A run of a table reads files, not folders.
    """
    return [folder, *folder.glob("image/*"), *folder.glob("prompt/*")]


def of_output(file: Path) -> list[Path]:
    """What a command changes that writes a picture: the file, and the case that it becomes part of.

    ``data/CASE/image/mask.png`` does; ``original_image_preview.png`` beside it is nobody's.
    """
    if file.name.partition(".")[0] not in ("original_image", "mask"):
        return [file]
    # By its whole path, for "mask.png" may be meant within the case.
    return [file, Path(os.path.abspath(file)).parent.parent]  # noqa: PTH100


def _lock(handle: int, paths: Iterable[Path], kind: int, patience: float = 0.0) -> None:
    """Lock the bytes of some paths.

    Raises:
        UserError: one was not to be had.
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
    """The byte of a path; so far apart that no two paths ever meet."""
    name = os.fsencode(os.path.realpath(path))
    return int.from_bytes(hashlib.sha256(name).digest()[:7], "big")


@cache
def _held_until_the_end() -> int | None:
    """The file, opened once: closing any descriptor of it gives all locks of the process back."""
    return _opened()


def _opened() -> int | None:
    """The file of the locks; None where there can be none."""
    try:
        handle = os.open(private_folder() / _FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.utime(handle)  # cleaners of temporary files go by age
    except OSError as fault:
        log.warning("cases in use cannot be marked: %s", fault)
        return None
    return handle
