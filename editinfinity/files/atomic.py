"""Atomic writing: a file is either complete or absent.

A killed workflow would leave half-written outputs behind, and a later run would treat them as
finished (docs/layout.md). So every file is written to a temporary file in the same folder and
then renamed.
"""

from __future__ import annotations

import errno
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
from editinfinity.locks import Lock, lock_file

_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG}
"""Error numbers that indicate a problem with the disk rather than a bug."""


@contextmanager
def atomic_path(final: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``final``, which is renamed to ``final`` if the block succeeds.

    The folder is created if it is missing. The temporary file has the same suffix as ``final``,
    for writers that choose a format by suffix. If the block fails, the temporary file is deleted.
    Temporary files of killed processes are deleted the next time that ``final`` is written.

    Raises:
        UserError: the folder cannot be written to, or the disk is full.
    """
    final = Path(final)
    # The temporary name uses a hash, because file names are limited to 255 bytes.
    prefix = f".tmp-{hashlib.sha256(os.fsencode(final.name)).hexdigest()[:8]}-"
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        _delete_leftovers(final.parent, prefix)
        temporary, descriptor = _create_temporary(final, prefix)
    except OSError as error:
        raise _write_error(final, error.strerror) from None
    try:
        yield temporary
        _flush_to_disk(temporary)
        # mkstemp made the file private; results get the usual permissions of a new file.
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(final)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if reason := _disk_error_reason(error):
            raise _write_error(final, reason) from None
        raise
    finally:
        os.close(descriptor)


def reserve_path(path: Path) -> bool:
    """Reserve a path by creating an empty file there; return False if the path already exists.

    Raises:
        UserError: the folder cannot be written to, or the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("xb").close()
    except OSError as error:
        if isinstance(error, FileExistsError) and path.parent.is_dir():
            return False
        raise _write_error(path, error.strerror) from None
    return True


def _disk_error_reason(error: BaseException) -> str | None:
    """Return the reason if an error was caused by the disk, else None."""
    if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
        return error.strerror
    # Looked up in sys.modules to avoid the import: if a SafetensorError was raised, the library
    # has been imported already, and planning does not need it.
    library = sys.modules.get("safetensors")
    if library is not None and isinstance(error, library.SafetensorError):
        # A SafetensorError carries no error number, only this text.
        match = re.search(r"I/O error: (.*?) \(os error", str(error))
        return match and match[1]
    return None


def _write_error(final: Path, reason: str | None) -> UserError:
    return UserError(f"{final}: cannot be written ({reason}); choose another folder or make room")


def _create_temporary(final: Path, prefix: str) -> tuple[Path, int]:
    """Create a temporary file beside ``final``.

    Returns:
        Its path, and an open descriptor that holds a lock while the file is being written.
    """
    while True:
        descriptor, name = tempfile.mkstemp(prefix=prefix, suffix=final.suffix, dir=final.parent)
        with suppress(OSError):  # without file locks, ``_delete_leftovers`` deletes nothing either
            lock_file(descriptor)
        if (path := Path(name)).exists():  # ``_delete_leftovers`` may delete it before the lock
            return path, descriptor
        os.close(descriptor)


def _delete_leftovers(folder: Path, prefix: str) -> None:
    """Delete temporary files left by killed processes: those that no process has locked."""
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
    """Write UTF-8 text atomically, without translating newlines."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON with sorted keys atomically, so that equal values give equal bytes."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def _flush_to_disk(path: Path) -> None:
    """Flush a file to disk before it is renamed, so that a power cut cannot leave it empty."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    """Return the process's umask. The system has no other way to read it than to set it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
