"""One run of the workflow: the folder of its workers' files, and a lock that shows it is alive.

The folder is private. An environment variable passes its path to the jobs of the run. Snakemake's
process holds a lock in it. When that process ends, for whatever reason, the lock is released, and
workers and jobs notice and exit.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from editinfinity.locks import Lock, is_locked
from editinfinity.worker.private import private_folder, require_private
from editinfinity.worker.protocol import request_exit

SESSION = "EDITINFINITY_SESSION"
"""Environment variable that holds the folder of the run that a job belongs to."""

WORKERS = "EDITINFINITY_WORKERS"
"""Environment variable that holds the folder of the workers if they stay after the run: that of a
warm process (``warm_process``)."""

SOCKET, SERVING, STARTING = ".socket", ".serving", ".starting"
"""Suffixes of a worker's files: the socket, the lock that the worker holds while it runs, and the
lock that a job holds while it starts the worker."""

_EXIT_TIMEOUT = 3.0
"""Seconds to wait for workers to exit after they were told to leave."""

ALIVE = "alive"
"""Name of the file that the owner of a session's folder keeps locked."""

WARM_PREFIX = "warm-"
"""Start of the name of a warm process's folder."""

_PREFIX = "run-"


class Session:
    """One run of the workflow and its folder.

    Args:
        folder: the private folder of the run.
        lock: the lock that shows that the run is alive, in Snakemake's own process; None in others.

    Attributes:
        workers: the folder with the files of its workers: its own, or that of a warm process.
    """

    def __init__(self, folder: Path, lock: Lock | None = None) -> None:
        self.folder, self._lock = folder, lock
        self.workers = folder

    @classmethod
    def current(cls) -> Session | None:
        """Return the run of this job; None if it belongs to no run or the folder is not private."""
        name = os.environ.get(SESSION)
        if not name:
            return None
        try:
            require_private(Path(name))
        except OSError:
            return None
        session = cls(Path(name))
        if warm := os.environ.get(WORKERS):
            with suppress(OSError):
                require_private(Path(warm))
                session.workers = Path(warm)
        return session

    @property
    def stays(self) -> bool:
        """Whether this is the folder of a warm process, whose workers stay between runs."""
        return self.folder.name.startswith(WARM_PREFIX)

    @property
    def alive_file(self) -> Path:
        """The file that is locked while Snakemake is running."""
        return self.folder / ALIVE

    @property
    def alive(self) -> bool:
        """Whether Snakemake is still running."""
        return is_locked(self.alive_file)

    def remove_if_over(self) -> None:
        """Remove the folder if the run is over and no worker is left."""
        if not self.alive_file.exists():
            return
        with suppress(OSError):  # another process removes it
            lock = Lock.take(self.alive_file)
            if lock is None:
                return
            with lock:  # so that no warm process begins in the folder meanwhile
                if not any(is_locked(path) for path in self.folder.glob(f"*{SERVING}")):
                    shutil.rmtree(self.folder, ignore_errors=True)

    def close(self) -> None:
        """Tell the workers to exit and remove the folder. Further calls do nothing."""
        if self._lock is None or self._lock.handle < 0:
            return
        os.environ.pop(SESSION, None)
        for socket in self.folder.glob(f"*{SOCKET}"):
            request_exit(socket)
        self._lock.release()
        # A worker that stays busy for longer exits and removes the folder by itself.
        deadline = time.monotonic() + _EXIT_TIMEOUT
        while self.folder.exists() and time.monotonic() < deadline:
            self.remove_if_over()
            time.sleep(0.02)


_open: Session | None = None


def open_session() -> Session | None:
    """Open the session of a run, so that its jobs may start workers.

    Returns:
        The session; None if no private folder can be created. Jobs then run without workers.
    """
    global _open
    try:
        private = private_folder()
        for folder in (*private.glob(f"{_PREFIX}*"), *private.glob(f"{WARM_PREFIX}*")):
            Session(folder).remove_if_over()
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=private))
        lock = Lock.take(folder / ALIVE)
    except OSError:
        return None
    assert lock is not None, "the folder is new"
    _open = Session(folder, lock)
    os.environ[SESSION] = str(folder)
    atexit.register(_open.close)
    return _open


def close_session() -> None:
    """Close the session that this process opened, if any."""
    if _open is not None:
        _open.close()


def forget_session() -> None:
    """Detach the jobs of this process from the run: on a cluster, its workers are out of reach."""
    os.environ.pop(SESSION, None)
