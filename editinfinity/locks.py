"""Locks that the kernel gives back when their holder dies, however it dies."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
"""What a file system says that knows no locks."""


class Lock:
    """An open file with an exclusive ``flock`` on it.

    The lock belongs to the open file: it is held for as long as any process has it open, so one
    that was handed the descriptor keeps it when the first has died.

    Attributes:
        handle: the file's descriptor.
    """

    def __init__(self, handle: int) -> None:
        self.handle = handle

    @classmethod
    def take(cls, path: Path, wait: bool = False) -> Lock | None:
        """Lock a file, made if missing.

        Returns:
            None where another holds it and ``wait`` is False.
        """
        while True:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                if _is_file(path, handle):
                    os.utime(handle)  # cleaners of temporary files go by age
                    return cls(handle)
            except BlockingIOError:
                os.close(handle)
                return None
            except BaseException:
                os.close(handle)
                raise
            os.close(handle)  # was removed meanwhile: a lock on it would keep nobody out

    def release(self) -> None:
        """Give the lock back, unless another process has it open too."""
        if self.handle >= 0:
            os.close(self.handle)
            self.handle = -1

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *fault: object) -> None:
        self.release()


def held(path: Path, wait: bool = False) -> bool:
    """Whether somebody holds the lock of a file; with ``wait`` only told once nobody does."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # Shared, so that two who only look do not see one another.
        fcntl.flock(handle, fcntl.LOCK_SH | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def wait_until_free(path: Path) -> None:
    """Sleep until nobody holds the lock of a file, or there is no such file."""
    held(path, wait=True)


def _is_file(path: Path, handle: int) -> bool:
    """Whether a path still leads to an open file."""
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except OSError:
        return False
