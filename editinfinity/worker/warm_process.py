"""Processes that stay between edits (``--keep-warm``): where they are, what they do, ending them.

Such a process has imported Snakemake; each edit of the command runs in a child that it forks
(``cli/warm_server.py``). Its folder is private. It is the session of the workers that the edits
use, so they and their models stay as long as the process does.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from editinfinity.locks import is_locked
from editinfinity.worker.private import private_folder, require_private
from editinfinity.worker.protocol import ProtocolError, connect
from editinfinity.worker.session import ALIVE, WARM_PREFIX

_ANSWER_TIMEOUT = 5.0
"""Seconds within which a warm process must answer."""


def socket_of(folder: Path) -> Path:
    """Return the socket of the warm process with this folder."""
    return folder / "edits"


@dataclass(frozen=True)
class WarmProcess:
    """A running warm process.

    Attributes:
        folder: its private folder.
        pid: its process id.
        model: model of the last edit.
        editing: how many edits run now.
        idle: seconds since the last edit.
        minutes: minutes without an edit after which it ends.
        memory: resident memory of it and its workers, in bytes; 0 if the system does not tell.
    """

    folder: Path
    pid: int
    model: str
    editing: int
    idle: float
    minutes: float
    memory: int

    def __str__(self) -> str:
        """Return what it does, for a line of text."""
        memory = f", {self.memory / 1e6:.0f} MB of memory" if self.memory else ""
        state = "editing now" if self.editing else f"idle for {self.idle / 60:.0f} min"
        return (
            f"process {self.pid} keeps {self.model} warm{memory}; {state}, ends after "
            f"{self.minutes:g} min without an edit"
        )


def warm_processes() -> list[WarmProcess]:
    """Return the warm processes of this user on this machine that answer."""
    found = []
    for folder in _folders():
        with suppress(OSError, ProtocolError), closing(connect(socket_of(folder))) as connection:
            connection.send({"status": None})
            answer = connection.receive(_ANSWER_TIMEOUT)
            if answer is not None:
                found.append(WarmProcess(folder, **answer["status"]))
    return found


def end_warm_process(folder: Path, wait: bool = True) -> None:
    """Tell a warm process to end after the edits that run now.

    Args:
        folder: its folder.
        wait: whether to wait until an idle one has ended.
    """
    with suppress(OSError, ProtocolError), closing(connect(socket_of(folder))) as connection:
        connection.send({"leave": None})
        if wait:
            connection.receive(_ANSWER_TIMEOUT)


def stop_edit(pid: int) -> None:
    """Stop an edit's Snakemake, which leads a process group, and its jobs, as Ctrl-C does."""
    with suppress(ProcessLookupError):  # it has not become a group yet
        os.killpg(pid, signal.SIGINT)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)


def resident_memory(pid: int) -> int:
    """Return the resident memory of a process in bytes; 0 if the system does not tell."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _folders() -> Iterator[Path]:
    try:
        folders = sorted(private_folder().glob(f"{WARM_PREFIX}*"))
    except OSError:
        return
    for folder in folders:
        with suppress(OSError):
            require_private(folder)
            if is_locked(folder / ALIVE):
                yield folder
