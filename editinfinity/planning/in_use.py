"""Locks that keep commands from changing a case while a run reads it, and vice versa.

A run holds shared locks on its cases for as long as its process lives. A command that writes into a
case needs an exclusive lock. Each lock covers one byte of one file in the user's private folder, at
an offset derived from the path. One file descriptor therefore suffices for any number of cases,
nothing is written into the user's folders, and the kernel releases the locks when the process ends
for any reason. Locks are not visible to other users or on other machines.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from editinfinity.errors import UserError
from editinfinity.locks import lock_byte
from editinfinity.worker.private import private_folder

log = logging.getLogger(__name__)

_FILE = "cases-in-use"

_TIMEOUT = 5.0
"""Seconds that a run waits for a command to finish writing a case, which usually takes a moment."""

_RETRY_PAUSE = 0.05  # seconds between two attempts to lock


def lock_until_exit(paths: Iterable[Path]) -> None:
    """Lock paths against changes by commands until this process ends.

    Args:
        paths: folders of cases, or single files.

    Raises:
        UserError: a command is still changing one of them after ``_TIMEOUT`` seconds.
    """
    if (descriptor := _process_descriptor()) is not None:
        _lock(descriptor, paths, shared=True, timeout=_TIMEOUT)


@contextmanager
def locked_for_change(paths: Iterable[Path]) -> Iterator[None]:
    """Lock paths exclusively: no other process reads or changes them within the block.

    Do not nest: leaving the inner block would release all locks of the process.

    Raises:
        UserError: a run reads one of them, or another command changes it.
    """
    descriptor = _open_lock_file()
    try:
        if descriptor is not None:
            _lock(descriptor, paths)
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def paths_of_case(folder: Path) -> list[Path]:
    """Return the paths that a command locks if it creates or changes a case: folder and files.

    The files are needed because a run with a table locks files, not folders.
    """
    return [folder, *folder.glob("image/*"), *folder.glob("prompt/*")]


def paths_of_output(file: Path) -> list[Path]:
    """Return the paths that a command locks if it writes a picture: the file, and its case if any.

    ``data/CASE/image/mask.png`` is part of a case; ``original_image_preview.png`` beside it is not.
    """
    if file.name.partition(".")[0] not in ("original_image", "mask", "blend"):
        return [file]
    # The path must be absolute, since "mask.png" may be relative to a folder within the case.
    return [file, Path(os.path.abspath(file)).parent.parent]  # noqa: PTH100


def _lock(
    descriptor: int, paths: Iterable[Path], *, shared: bool = False, timeout: float = 0.0
) -> None:
    """Lock the bytes that belong to some paths.

    Raises:
        UserError: another process holds a conflicting lock, even after ``timeout`` seconds.
    """
    deadline = time.monotonic() + timeout
    for path in paths:
        while True:
            try:
                lock_byte(descriptor, _offset_of(path), shared=shared)
                break
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):  # no locks on this system
                    log.warning("cannot protect cases from changes during a run: %s", error)
                    return
            if time.monotonic() >= deadline:
                raise UserError(
                    f"{path}: is in use by a run or another command; wait for it to end"
                )
            time.sleep(_RETRY_PAUSE)


def _offset_of(path: Path) -> int:
    """Return the offset of the byte for a path: 56 bits of a hash, so that paths do not collide."""
    name = os.fsencode(os.path.realpath(path))
    return int.from_bytes(hashlib.sha256(name).digest()[:7], "big")


@cache
def _process_descriptor() -> int | None:
    """Return the lock file's descriptor, opened once and never closed.

    Closing any descriptor of the file would release all locks of the process.
    """
    return _open_lock_file()


def _open_lock_file() -> int | None:
    """Open the lock file and return its descriptor; None, with a warning, if it cannot be opened.

    Callers go on without locks then.
    """
    try:
        descriptor = os.open(private_folder() / _FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.utime(descriptor)  # so that cleaners of temporary folders do not delete it as old
    except OSError as error:
        log.warning("cannot protect cases from changes during a run: %s", error)
        return None
    return descriptor
