"""One run of the workflow: the folder its workers live in, and the sign that it is alive.

The folder is private and named in the environment of the run's jobs. A lock in it is held by
Snakemake's process: when that is gone, however it went, workers and jobs notice and leave.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import time
from pathlib import Path

from editinfinity.locks import Lock, held
from editinfinity.worker.private import private_folder, require_private
from editinfinity.worker.protocol import ask_to_leave

SESSION = "EDITINFINITY_SESSION"
"""Environment variable: the folder of the run a job belongs to."""

SOCKET, SERVING, STARTING = ".socket", ".serving", ".starting"
"""Endings of a worker's files: where it listens, the lock it holds for as long as it lives, and the
lock of whoever starts it."""

_PATIENCE = 3.0
"""Seconds to wait for workers that were sent away."""

_ALIVE = "alive"
_PREFIX = "run-"


class Session:
    """The folder of one run.

    Args:
        folder: private; its workers live there.
        lock: the sign that the run is alive, in Snakemake's own process; None in any other.
    """

    def __init__(self, folder: Path, lock: Lock | None = None) -> None:
        self.folder, self._lock = folder, lock

    @classmethod
    def current(cls) -> Session | None:
        """The run this job belongs to; None outside of one, or if its folder is not private."""
        name = os.environ.get(SESSION)
        if not name:
            return None
        try:
            require_private(Path(name))
        except OSError:
            return None
        return cls(Path(name))

    @property
    def sign(self) -> Path:
        """The file whose lock says that Snakemake is running."""
        return self.folder / _ALIVE

    @property
    def alive(self) -> bool:
        """Whether Snakemake is still running."""
        return held(self.sign)

    def tidy(self) -> None:
        """Remove the folder of a run that is over, once no worker is left."""
        over = self.sign.exists() and not self.alive
        if over and not any(held(lock) for lock in self.folder.glob(f"*{SERVING}")):
            shutil.rmtree(self.folder, ignore_errors=True)

    def close(self) -> None:
        """Send the workers away and remove everything; may be called again."""
        if self._lock is None or self._lock.handle < 0:
            return
        os.environ.pop(SESSION, None)
        for socket in self.folder.glob(f"*{SOCKET}"):
            ask_to_leave(socket)
        self._lock.release()
        # One that is busy for longer leaves, and tidies up, by itself.
        give_up = time.monotonic() + _PATIENCE
        while self.folder.exists() and time.monotonic() < give_up:
            self.tidy()
            time.sleep(0.02)


_open: Session | None = None


def open_session() -> Session | None:
    """Begin a run: its jobs may start workers from here on.

    Returns:
        None where there is no private folder to have them in; jobs then work by themselves.
    """
    global _open
    try:
        private = private_folder()
        for folder in private.glob(f"{_PREFIX}*"):
            Session(folder).tidy()
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=private))
        lock = Lock.take(folder / _ALIVE)
    except OSError:
        return None
    assert lock is not None, "the folder is new"
    _open = Session(folder, lock)
    os.environ[SESSION] = str(folder)
    atexit.register(_open.close)
    return _open


def close_session() -> None:
    """End the run of this process, if one was begun."""
    if _open is not None:
        _open.close()


def forget_session() -> None:
    """Have the jobs of this process belong to no run: they live elsewhere than its workers."""
    os.environ.pop(SESSION, None)
