"""Files that are either whole or absent.

A killed workflow leaves half-written outputs behind, which a later run would take for finished
(docs/layout.md). So everything is written to a temporary sibling and renamed.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from editinfinity.errors import UserError
from editinfinity.locks import Lock

_UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG}
"""What ails a disk rather than a program."""


@contextmanager
def atomic_path(final: Path) -> Iterator[Path]:
    """A temporary path beside ``final`` that becomes it when the block ends well.

    The folder is made if it is missing. The temporary name ends like ``final``, so that writers
    that look at the ending work. Nothing stays behind if the block fails; what a killed process
    left behind goes when ``final`` is next written.

    Raises:
        UserError: the folder cannot be written to, or the disk is full.
    """
    final = Path(final)
    # Only a hash and the ending of a long name are kept: names have a limit of 255 bytes.
    prefix = f".tmp-{hashlib.sha256(os.fsencode(final.name)).hexdigest()[:8]}-"
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        _sweep(final.parent, prefix)
        temporary, lock = _claim(final, prefix)
    except OSError as error:
        raise _cannot_be_written(final, error.strerror) from None
    try:
        yield temporary
        _flush_to_disk(temporary)
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(final)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if reason := _fault_of_disk(error):
            raise _cannot_be_written(final, reason) from None
        raise
    finally:
        os.close(lock)


def claimed(path: Path) -> bool:
    """Take a name by an empty file, so that nobody else takes it too; False if it is not free.

    Raises:
        UserError: the folder cannot be written to, or the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("xb").close()
    except OSError as error:
        if isinstance(error, FileExistsError) and path.parent.is_dir():
            return False
        raise _cannot_be_written(path, error.strerror) from None
    return True


def _fault_of_disk(error: BaseException) -> str | None:
    """What ails the disk rather than the program, if that is what an error says."""
    if isinstance(error, OSError) and error.errno in _UNWRITABLE:
        return error.strerror
    # Whoever raised a SafetensorError has imported its library, which planning does without.
    library = sys.modules.get("safetensors")
    if library is not None and isinstance(error, library.SafetensorError):
        # It says only in words what it ran into.
        match = re.search(r"I/O error: (.*?) \(os error", str(error))
        return match and match[1]
    return None


def _cannot_be_written(final: Path, reason: str | None) -> UserError:
    return UserError(f"{final}: cannot be written ({reason}); choose another folder or make room")


def _claim(final: Path, prefix: str) -> tuple[Path, int]:
    """(a new file beside ``final``, a descriptor with a lock that says it is being written)."""
    while True:
        handle, name = tempfile.mkstemp(prefix=prefix, suffix=final.suffix, dir=final.parent)
        with suppress(OSError):  # a file system without locks: nobody sweeps there either
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if (path := Path(name)).exists():  # else swept before the lock was there
            return path, handle
        os.close(handle)


def _sweep(folder: Path, prefix: str) -> None:
    """Remove what killed processes left of a file: those whose lock is free."""
    for path in folder.glob(f"{prefix}*"):
        with suppress(OSError):
            if lock := Lock.take(path):
                with lock:
                    path.unlink()


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically, newlines as given."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically: keys sorted, indented, so that equal values are equal bytes."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def _flush_to_disk(path: Path) -> None:
    """Have the bytes on disk before the name: a power cut must not leave an empty file."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    """The process's umask; temporary files are private by default, results should not be."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
