"""SHA-256 digests of whole files, cached on disk so that each file is read only once.

The cache key of a digest consists of device, inode, size, mtime and ctime, the last two in
nanoseconds. No program can set ctime back, so a changed file always has a different key, whatever
its size and mtime. If the cache or an entry of it is lost, files are only read again.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import re
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock, Timer

from editinfinity.errors import UserError
from editinfinity.files.atomic import write_text
from editinfinity.files.input_files import read_text

KEPT_IN = Path(".snakemake", "editinfinity", "fingerprints.json")
"""Path of the cache, relative to the working directory of the workflow."""

SMALL = 2**16
"""Maximum size, in bytes, of files that are not cached: reading one is as fast as looking it up."""

MOST = 50_000
"""Maximum number of digests in the cache; the least recently used ones are removed first."""

_LONGEST = 2**24
"""Maximum size of the cache file, in bytes; ``MOST`` digests take less."""

_SETTLED = 2_000_000_000
"""Minimum age of a file's last change, in nanoseconds, for its digest to be cached. A file changed
more recently might change again with the same mtime and ctime, since the coarsest file systems have
a timestamp resolution this long."""

_PATIENCE = 2.0
"""Seconds of reading after which a progress line is shown."""

_SAVE_EVERY = 10.0
"""Seconds of reading after which new digests are saved, in case the process is killed."""

_READERS = 4
"""Number of files read in parallel: enough for a fast disk, few enough for a slow one."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


class Digests:
    """Cache of file digests, keyed by the ``stat`` result of a file. Thread-safe.

    Digests are kept in memory only, until ``keep_in`` is called.
    """

    def __init__(self) -> None:
        self._file: Path | None = None
        self._tell: Callable[[str], object] | None = None
        self._known: dict[str, str] = {}
        self._used: dict[str, str] = {}  # least recently used first, for the next save
        self._unsaved = False
        self._saved_at = time.monotonic()
        self._saving = Lock()

    def keep_in(self, folder: Path, tell: Callable[[str], object] | None = None) -> None:
        """Load the digests stored in a folder, and store new ones there, at the latest at exit.

        Args:
            folder: working directory of the workflow, to which ``KEPT_IN`` is relative.
            tell: function that shows a line if reading takes long.
        """
        self._file, self._tell = folder.absolute() / KEPT_IN, tell
        self._known |= _load(self._file)
        atexit.register(self.save)

    def of(self, path: Path, limit: int = 2**40) -> str | None:
        """Return the SHA-256 digest of a file's content, in hexadecimal.

        Args:
            path: path of the file; links are followed.
            limit: maximum size in bytes.

        Returns:
            The digest; None if the path is not a regular file, is larger than the limit, or cannot
            be read.
        """
        found = _file_at(path, limit)
        return None if found is None else self._looked_up(found) or self._read(path)

    def of_each(
        self, paths: Iterable[Path], what: str = "files", limit: int = 2**40
    ) -> dict[Path, str | None]:
        """Return path → digest for many files, which are read in parallel.

        Args:
            paths: paths of the files.
            what: plural noun for the files, used in the progress line.
            limit: see ``of``.
        """
        digests: dict[Path, str | None] = {}
        unread: dict[Path, int] = {}
        for path in paths:
            found = _file_at(path, limit)
            digests[path] = None if found is None else self._looked_up(found)
            if found is not None and digests[path] is None:
                unread[path] = found.st_size
        if unread:
            from concurrent.futures import ThreadPoolExecutor

            line = f"reading {len(unread)} {what} once ({sum(unread.values()) / 1e9:.1f} GB)"
            with self._telling(line), ThreadPoolExecutor(_READERS) as pool:
                digests.update(zip(unread, pool.map(self._read, unread), strict=True))
        return digests

    def save(self) -> None:
        """Write new digests to the cache file, merged with those that other processes have added.

        If two processes save at the same moment, one may lose its entries, and those files are read
        again. A folder that is not writable is left unchanged.
        """
        with self._saving:
            if self._file is None or not self._unsaved:
                return
            self._unsaved, self._saved_at = False, time.monotonic()
            used = dict(self._used)
            older = {key: value for key, value in _load(self._file).items() if key not in used}
            kept = list((older | used).items())[-MOST:]
            with suppress(UserError, OSError):
                write_text(self._file, json.dumps(dict(kept)))

    def _looked_up(self, found: os.stat_result) -> str | None:
        key = _key(found)
        digest = None if key is None else self._known.get(key)
        if key is not None and digest is not None:
            self._used[key] = digest
        return digest

    def _read(self, path: Path) -> str | None:
        try:
            with path.open("rb", buffering=0) as file:
                key = _key(os.fstat(file.fileno()))
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                unchanged = key == _key(os.fstat(file.fileno()))
        except (OSError, ValueError):
            return None
        if key is not None and unchanged:
            self._known[key] = self._used[key] = digest
            self._unsaved = True
            if time.monotonic() - self._saved_at > _SAVE_EVERY:
                self.save()
        return digest

    @contextmanager
    def _telling(self, line: str) -> Iterator[None]:
        """Show a line if the block takes longer than ``_PATIENCE``."""
        if self._tell is None:
            yield
            return
        timer = Timer(_PATIENCE, self._tell, [line])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


DIGESTS = Digests()
"""The digest cache of this process."""


def _file_at(path: Path, limit: int) -> os.stat_result | None:
    """Return the ``stat`` result of a regular file within the size limit, else None.

    Other kinds of file are excluded because opening a pipe, for example, would block forever.
    """
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found if stat.S_ISREG(found.st_mode) and found.st_size <= limit else None


def _key(found: os.stat_result) -> str | None:
    """Return the cache key of a file.

    Returns:
        The key; None if the file changed too recently for a reliable key, or is small enough to be
        read each time.
    """
    changed = max(found.st_mtime_ns, found.st_ctime_ns)
    if found.st_size <= SMALL or time.time_ns() - changed < _SETTLED:
        return None
    return f"{found.st_dev} {found.st_ino} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"


def _load(file: Path) -> dict[str, str]:
    """Return the digests in a cache file; none if it is missing, damaged or something else."""
    try:
        found = json.loads(read_text(file, _LONGEST, ""))
        return {key: value for key, value in found.items() if _SHA256.fullmatch(value)}
    except (UserError, ValueError, TypeError, AttributeError, RecursionError):
        return {}
