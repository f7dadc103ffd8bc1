"""Edit the photographs that arrive in a folder: ``editinfinity batch --watch``."""

from __future__ import annotations

import importlib.util
import logging
import stat
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from editinfinity.cancellation import Cancellation, Stopped
from editinfinity.cases.photo_folder import OTHER_MASK_ENDINGS, Found, Photograph, Unedited
from editinfinity.cli.delivery import PhotographResult, results_of_unedited
from editinfinity.errors import UserError
from editinfinity.files.input_files import require_file, sha256_of
from editinfinity.files.opening import MAX_BYTES, open_picture

log = logging.getLogger(__name__)

_SETTLED = 1.0
"""Seconds without a change after which a file is complete, if it can be opened."""

_GIVEN_UP = 5.0
"""Seconds without a change after which a file that cannot be opened is reported."""

_PAUSE = 0.25
"""Minimum seconds between two searches."""

_NEXT_SEARCH = 10.0
"""Seconds after which there is a search even if no change is reported.

Network folders do not report the changes that other machines make.
"""


def require_watchdog() -> None:
    """Raise ``UserError`` if the package that reports the changes of folders is missing."""
    if importlib.util.find_spec("watchdog") is None:
        raise UserError("--watch needs watchdog; pip install 'editinfinity[watch]'")


def watch_folders(
    folders: Sequence[Path],
    recursive: bool,
    find: Callable[[], Found],
    edit: Callable[[Sequence[Photograph], Found], list[PhotographResult]],
    show: Callable[[Sequence[PhotographResult]], None],
) -> None:
    """Edit each photograph when it is complete, and again when it changes, until a signal comes.

    Args:
        folders: folders whose changes start a new search; the first is that of the photographs.
        recursive: whether changes in their subfolders do too.
        find: searches for photographs.
        edit: edits some of what was found, and returns the outcomes.
        show: prints outcomes.
    """
    arrivals, results = Arrivals(), dict[Path, PhotographResult]()
    cancellation, fault = Cancellation(), ""
    with _changes(folders, recursive) as changed, cancellation.handling_signals():
        try:
            with cancellation.interruptible():
                log.info("%s: is watched until Ctrl-C", folders[0])
                while True:
                    changed.clear()
                    try:
                        found = find()
                    except UserError as error:  # a folder is gone, perhaps only for a moment
                        if str(error) != fault:
                            log.error("%s", error)
                        found, fault = Found(), str(error)
                    new = arrivals.look(found)
                    outcomes = results_of_unedited(new.unedited)
                    if new.photographs:
                        outcomes += _edited(new.photographs, found, edit)
                    if outcomes:
                        show(outcomes)
                        results |= {result.image: result for result in outcomes}
                    if not (new.pending or new.photographs):
                        changed.wait(_NEXT_SEARCH)
                    time.sleep(_PAUSE)
        except Stopped:
            log.info("%s: is no longer watched", folders[0])
    for result in results.values():
        if result.outcome != "edited":
            log.warning("%s", result.line)
    counts = Counter(result.outcome for result in results.values())
    total = counts["edited"] + counts["failed"]  # without masks and the like
    log.info("%d of %d photographs were edited", counts["edited"], total)


def _edited(
    photographs: Sequence[Photograph],
    found: Found,
    edit: Callable[[Sequence[Photograph], Found], list[PhotographResult]],
) -> list[PhotographResult]:
    """Return the outcomes of ``edit``; all have failed if the workflow could not start."""
    try:
        return edit(photographs, found)
    except UserError as error:
        return [
            PhotographResult(photograph.path, "failed", None, str(error))
            for photograph in photographs
        ]


@contextmanager
def _changes(folders: Sequence[Path], recursive: bool) -> Iterator[threading.Event]:
    """Yield an event that is set whenever something in the folders changes."""
    from watchdog.events import FileSystemEvent, FileSystemEventHandler
    from watchdog.observers import Observer

    changed = threading.Event()

    class Handler(FileSystemEventHandler):
        def on_any_event(self, event: FileSystemEvent) -> None:
            # A search opens files itself.
            if event.event_type not in ("opened", "closed_no_write"):
                changed.set()

    observer = Observer()
    try:
        for folder in folders:
            if folder.is_dir():
                observer.schedule(Handler(), str(folder), recursive=recursive)
        observer.start()
    except OSError as error:  # the system limits how many folders are watched
        log.warning(
            "%s: its changes are not reported (%s); it is searched every %d seconds",
            folders[0], error.strerror, _NEXT_SEARCH,
        )  # fmt: skip
        yield changed
        return
    try:
        yield changed
    finally:
        observer.stop()
        observer.join()


@dataclass
class New:
    """What is new in a folder.

    Attributes:
        photographs: photographs that are complete and were not edited yet with this content.
        unedited: files that are not edited and were not reported yet.
        pending: whether there are files that may still be incomplete.
    """

    photographs: list[Photograph] = field(default_factory=list)
    unedited: list[Unedited] = field(default_factory=list)
    pending: bool = False


class Arrivals:
    """Finds out which files of a folder are complete and new, from one search to the next.

    A file is complete when its size and time have not changed for a while and it can be opened.
    One that cannot be opened is waited for longer, as its copying may have stalled; then it counts
    as complete too, and editing it reports what is wrong with it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._states = dict[Path, tuple[Hashable, float]]()  # and when they were first seen
        self._reported = dict[Path, Hashable]()
        self._contents = dict[Path, list[str]]()  # digests

    def look(self, found: Found) -> New:
        """Return what is new in the results of another search."""
        new = New()
        for file in found.unedited:
            age = self._age(file.path, file.reason, [file.path])
            if age is not None and age < _SETTLED:
                new.pending = True
            elif age is not None:
                self._reported[file.path] = self._states[file.path][0]
                new.unedited.append(file)
        for photograph in found.photographs:
            path, mask = photograph.path, photograph.mask
            files = [path] if mask is None else [path, mask]
            age = self._age(path, str(mask), files)
            if age is None:
                continue
            if age < _SETTLED or (age < _GIVEN_UP and not _can_be_opened(files)):
                new.pending = True
                continue
            self._reported[path] = self._states[path][0]
            content = [_digest(file) for file in files]
            if content != self._contents.get(path):  # else only its time has changed
                self._contents[path] = content
                new.photographs.append(photograph)
        for path in self._states.keys() - found.paths():
            for memory in (self._states, self._reported, self._contents):
                memory.pop(path, None)
        return new

    def _age(self, path: Path, use: str, files: Sequence[Path]) -> float | None:
        """Return for how many seconds a file has not changed; None if that state was reported.

        Args:
            path: the file.
            use: what it is used for; another use counts as a change.
            files: files whose changes count: itself, and its mask.
        """
        state, now = (use, *map(_state_of, files)), self._clock()
        if path not in self._states or self._states[path][0] != state:
            self._states[path] = state, now
        return None if self._reported.get(path) == state else now - self._states[path][1]


def _state_of(path: Path) -> Hashable:
    """Return what changes when a file is written or replaced; for folders and the like, nothing."""
    try:
        status = path.stat()
    except OSError as error:
        return error.errno
    if not stat.S_ISREG(status.st_mode):
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _can_be_opened(files: Sequence[Path]) -> bool:
    """Return whether all pictures among some files can be decoded to their end."""
    try:
        for path in files:
            if path.suffix.lower() not in OTHER_MASK_ENDINGS:
                open_picture(path)
    except UserError:
        return False
    return True


def _digest(path: Path) -> str:
    """Return the SHA-256 of a file's content; empty if it cannot be read."""
    try:
        require_file(path, MAX_BYTES, "")
        return sha256_of(path)
    except (OSError, UserError):
        return ""
