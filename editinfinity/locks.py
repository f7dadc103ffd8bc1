"""File locks that the kernel releases when the process that holds them exits or crashes."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
"""Error numbers reported by file systems without support for locks."""


class Lock:
    """An open file with an exclusive ``flock`` on it.

    The lock belongs to the open file description and is held as long as any process keeps that
    open. A process that inherited the descriptor keeps the lock after the first process exits.

    Attributes:
        handle: the file descriptor.
    """

    def __init__(self, handle: int) -> None:
        self.handle = handle

    @classmethod
    def take(cls, path: Path, wait: bool = False) -> Lock | None:
        """Lock a file, creating it if missing.

        Returns:
            The lock, or None if another process holds it and ``wait`` is False.
        """
        while True:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                if _is_same_file(path, handle):
                    os.utime(handle)  # else cleaners of temporary files delete it
                    return cls(handle)
            except BlockingIOError:
                os.close(handle)
                return None
            except BaseException:
                os.close(handle)
                raise
            os.close(handle)  # the file was removed meanwhile; retry with a new one

    def release(self) -> None:
        """Close the file; this releases the lock unless another process has the file open too."""
        if self.handle >= 0:
            os.close(self.handle)
            self.handle = -1

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()


def is_locked(path: Path, wait: bool = False) -> bool:
    """Return whether a process holds the lock of a file; with ``wait``, wait until none does.

    The result is False if the file is missing or cannot be opened.

    Raises:
        OSError: the file system has no locks; the error number is in ``NO_LOCKS``.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # A shared lock, so that two concurrent checks do not see each other as a holder.
        fcntl.flock(handle, fcntl.LOCK_SH | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def wait_until_free(path: Path) -> None:
    """Block until no process holds the lock of a file; return at once if the file is missing."""
    is_locked(path, wait=True)


def _is_same_file(path: Path, handle: int) -> bool:
    """Return whether a path still refers to the file behind an open descriptor."""
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except OSError:
        return False
