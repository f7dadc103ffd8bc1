"""SHA-256 of whole files, each read once: later runs look up what they know in a file.

There a digest is kept by device, inode, size, mtime and ctime, the last two in nanoseconds. No
program can set ctime back, so a file that was changed has another key, whatever its size and mtime.
Losing the file, or an entry of it, only costs reading again.
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
"""Where digests are kept, from the folder that the workflow runs in."""

SMALL = 2**16
"""Bytes up to which a file is read each time, which takes no longer than looking it up."""

MOST = 50_000
"""Digests that are kept; those not used for longest go first."""

_LONGEST = 2**24
"""Bytes of a file of digests; ``MOST`` of them take less."""

_SETTLED = 2_000_000_000
"""Nanoseconds: a file changed later than so long ago might change again without another mtime or
ctime, whose steps are this long on the coarsest file systems."""

_PATIENCE = 2.0
"""Seconds of reading after which a line says so."""

_SAVE_EVERY = 10.0
"""Seconds of reading after which what is known is saved, in case the process is killed."""

_READERS = 4
"""Files read at once: enough for a fast disk, few enough for a slow one."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


class Digests:
    """Digests by what ``stat`` says of a file. May be used from several threads.

    They are kept in memory alone until ``keep_in`` is called.
    """

    def __init__(self) -> None:
        self._file: Path | None = None
        self._tell: Callable[[str], object] | None = None
        self._known: dict[str, str] = {}
        self._used: dict[str, str] = {}  # in order of use, for the next save
        self._unsaved = False
        self._saved_at = time.monotonic()
        self._saving = Lock()

    def keep_in(self, folder: Path, tell: Callable[[str], object] | None = None) -> None:
        """Look up and keep digests in a folder, that of the workflow; saved at the latest at exit.

        Args:
            folder: where ``KEPT_IN`` lies or will lie.
            tell: takes a line where reading takes long.
        """
        self._file, self._tell = folder.absolute() / KEPT_IN, tell
        self._known |= _load(self._file)
        atexit.register(self.save)

    def of(self, path: Path, limit: int = 2**40) -> str | None:
        """SHA-256 of a file's content, in hexadecimal.

        Args:
            path: of the file; links are followed.
            limit: largest size in bytes.

        Returns:
            None for what is no file, larger than the limit, or cannot be read.
        """
        found = _file_at(path, limit)
        return None if found is None else self._looked_up(found) or self._read(path)

    def of_each(
        self, paths: Iterable[Path], what: str = "files", limit: int = 2**40
    ) -> dict[Path, str | None]:
        """``of`` for many files, which are read side by side.

        Args:
            paths: of the files.
            what: they are, for people.
            limit: as of ``of``.
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
        """Add what is new to the file, beside what other processes have added meanwhile.

        Of two that save at the same moment one may lose its entries, which costs reading again.
        A folder that cannot be written to is left as it is.
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
        """Tell what is going on if it takes long."""
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
"""Those of this process."""


def _file_at(path: Path, limit: int) -> os.stat_result | None:
    """What ``stat`` says of a file; None for what is none: opening a pipe waits for ever."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found if stat.S_ISREG(found.st_mode) and found.st_size <= limit else None


def _key(found: os.stat_result) -> str | None:
    """What stands for a file's content; None where nothing does, or reading it is as quick."""
    changed = max(found.st_mtime_ns, found.st_ctime_ns)
    if found.st_size <= SMALL or time.time_ns() - changed < _SETTLED:
        return None
    return f"{found.st_dev} {found.st_ino} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"


def _load(file: Path) -> dict[str, str]:
    """The digests of a file; none where it is missing, damaged or something else."""
    try:
        found = json.loads(read_text(file, _LONGEST, ""))
        return {key: value for key, value in found.items() if _SHA256.fullmatch(value)}
    except (UserError, ValueError, TypeError, AttributeError, RecursionError):
        return {}
