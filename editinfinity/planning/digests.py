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

CACHE = Path(".snakemake", "editinfinity", "fingerprints.json")
"""Path of the cache, relative to the working directory of the workflow."""

MAX_UNCACHED = 2**16
"""Maximum size of files whose digests are not cached: reading one is as fast as looking it up."""

MAX_ENTRIES = 50_000
"""Maximum number of digests in the cache; the least recently used ones are removed first."""

_MAX_CACHE_BYTES = 2**24
"""Maximum size of the cache file, in bytes; ``MAX_ENTRIES`` digests take less."""

_MIN_AGE_NS = 2_000_000_000
"""Minimum age of a file's last change, in nanoseconds, for its digest to be cached. A file changed
more recently might change again with the same mtime and ctime, since the coarsest file systems have
a timestamp resolution this long."""

_PROGRESS_AFTER = 2.0
"""Seconds of reading after which a progress line is shown."""

_SAVE_EVERY = 10.0
"""Seconds of reading after which new digests are saved, in case the process is killed."""

_READERS = 4
"""Number of files read in parallel: enough for a fast disk, few enough for a slow one."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


class Digests:
    """Cache of file digests, keyed by the ``stat`` result of a file. Thread-safe.

    Digests are kept in memory only, until ``persist_in`` is called.
    """

    def __init__(self) -> None:
        self._file: Path | None = None
        self._notify: Callable[[str], object] | None = None
        self._known: dict[str, str] = {}
        self._used: dict[str, str] = {}  # least recently used first, for the next save
        self._unsaved = False
        self._saved_at = time.monotonic()
        self._save_lock = Lock()

    def persist_in(self, folder: Path, notify: Callable[[str], object] | None = None) -> None:
        """Load the digests stored in a folder, and store new ones there, at the latest at exit.

        Args:
            folder: working directory of the workflow, to which ``CACHE`` is relative.
            notify: function that shows a progress line; called if reading takes long.
        """
        self._file, self._notify = folder.absolute() / CACHE, notify
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
        stats = _regular_file_stats(path, limit)
        return None if stats is None else self._cached_digest(stats) or self._read(path)

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
            stats = _regular_file_stats(path, limit)
            digests[path] = None if stats is None else self._cached_digest(stats)
            if stats is not None and digests[path] is None:
                unread[path] = stats.st_size
        if unread:
            from concurrent.futures import ThreadPoolExecutor

            line = f"reading {len(unread)} {what} once ({sum(unread.values()) / 1e9:.1f} GB)"
            with self._progress_line(line), ThreadPoolExecutor(_READERS) as pool:
                digests.update(zip(unread, pool.map(self._read, unread), strict=True))
        return digests

    def save(self) -> None:
        """Write new digests to the cache file, merged with those that other processes have added.

        If two processes save at the same moment, one may lose its entries, and those files are read
        again. A folder that is not writable is left unchanged.
        """
        with self._save_lock:
            if self._file is None or not self._unsaved:
                return
            self._unsaved, self._saved_at = False, time.monotonic()
            recent = dict(self._used)
            older = {key: value for key, value in _load(self._file).items() if key not in recent}
            entries = list((older | recent).items())[-MAX_ENTRIES:]
            with suppress(UserError, OSError):
                write_text(self._file, json.dumps(dict(entries)))

    def _cached_digest(self, stats: os.stat_result) -> str | None:
        key = _key(stats)
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
    def _progress_line(self, line: str) -> Iterator[None]:
        """Show a line if the block takes longer than ``_PROGRESS_AFTER``."""
        if self._notify is None:
            yield
            return
        timer = Timer(_PROGRESS_AFTER, self._notify, [line])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


DIGESTS = Digests()
"""The digest cache of this process."""


def _regular_file_stats(path: Path, limit: int) -> os.stat_result | None:
    """Return the ``stat`` result of a regular file within the size limit, else None.

    Other kinds of file are excluded because opening a pipe, for example, would block forever.
    """
    try:
        stats = path.stat()
    except (OSError, ValueError):
        return None
    return stats if stat.S_ISREG(stats.st_mode) and stats.st_size <= limit else None


def _key(stats: os.stat_result) -> str | None:
    """Return the cache key of a file.

    Returns:
        The key; None if the file changed too recently for a reliable key, or is small enough to be
        read each time.
    """
    changed = max(stats.st_mtime_ns, stats.st_ctime_ns)
    if stats.st_size <= MAX_UNCACHED or time.time_ns() - changed < _MIN_AGE_NS:
        return None
    return f"{stats.st_dev} {stats.st_ino} {stats.st_size} {stats.st_mtime_ns} {stats.st_ctime_ns}"


def _load(file: Path) -> dict[str, str]:
    """Return the digests in a cache file; none if it is missing, damaged or not a cache file."""
    try:
        entries = json.loads(read_text(file, _MAX_CACHE_BYTES, ""))
        return {key: value for key, value in entries.items() if _SHA256.fullmatch(value)}
    except (UserError, ValueError, TypeError, AttributeError, RecursionError):
        return {}
