"""File locks that the kernel releases when the process that holds them exits or crashes.

They need POSIX. On other systems, taking a lock fails as on a file system without locks: callers
go on without, and say what is not protected.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]

NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
"""Error numbers reported by file systems without support for locks."""


def lock_file(handle: int, *, shared: bool = False, wait: bool = False) -> None:
    """Lock an open file with ``flock``.

    Args:
        handle: descriptor of the file.
        shared: whether others may hold a shared lock at the same time.
        wait: whether to wait while others hold the lock.

    Raises:
        BlockingIOError: another process holds the lock.
        OSError: there are no locks here; the error number is in ``NO_LOCKS``.
    """
    _require_locks()
    operation = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    fcntl.flock(handle, operation if wait else operation | fcntl.LOCK_NB)


def lock_byte(handle: int, offset: int, *, shared: bool = False) -> None:
    """Lock one byte of an open file for this process, with ``lockf``.

    Args:
        handle: descriptor of the file.
        offset: position of the byte; it may be beyond the file's end.
        shared: whether others may hold a shared lock at the same time.

    Raises:
        BlockingIOError, PermissionError: another process holds a lock of the byte.
        OSError: there are no locks here.
    """
    _require_locks()
    operation = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    fcntl.lockf(handle, operation | fcntl.LOCK_NB, 1, offset)


def _require_locks() -> None:
    if fcntl is None:
        raise OSError(errno.ENOSYS, "this system has no POSIX file locks")


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
                lock_file(handle, wait=wait)
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
        lock_file(handle, shared=True, wait=wait)
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
