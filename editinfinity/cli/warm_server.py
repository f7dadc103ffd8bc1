"""The process that stays between edits: each edit's Snakemake runs in a child that it forks.

Started as ``python -P -m editinfinity.cli.warm_server FOLDER`` (``cli/warm.py``). Importing
Snakemake takes longer than planning an edit, so this process imports it once. It runs no edit
itself and has no model; its children run what ``python -m snakemake`` would, in the same folder and
environment. It ends after some minutes without an edit, when it is told to, and when its code has
changed.
"""

from __future__ import annotations

import fcntl
import gc
import importlib
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from editinfinity.cli.warm import identity
from editinfinity.locks import Lock
from editinfinity.worker.protocol import Connection, ProtocolError, require_same_user
from editinfinity.worker.session import ALIVE, SERVING, Session
from editinfinity.worker.warm_process import resident_memory, socket_of, stop_edit

_IMPORTED = (
    "editinfinity.display.live",
    "editinfinity.planning.rule_inputs",
    "editinfinity.planning.rule_params",
    "editinfinity.results.metrics_table",
    "editinfinity.results.provenance",
    "editinfinity.results.report.make",
    "editinfinity.results.sheets",
    "editinfinity.results.summary",
    "editinfinity.results.sweep_sheet",
    "smart_open",
    "snakemake.benchmark",
    "snakemake.cli",
    "snakemake.report.html_reporter",
    "snakemake.storage",
)
"""Modules that a run imports at its beginning and end, imported before the first edit."""

_POLL_SECONDS = 2.0
"""Seconds between two checks whether to end."""

_REQUEST_TIMEOUT = 10.0
"""Seconds within which a client must send its request."""

_FREE_DESCRIPTOR = 64
"""Descriptors of an edit are first moved above this number, so that none is overwritten."""


@dataclass
class Edit:
    """What a child has to run.

    Attributes:
        command: arguments of Snakemake.
        folder: its working folder.
        environment: all its environment variables.
        descriptors: its numbers of the file descriptors that came with the request; the first is 2.
        received: the numbers of these descriptors in this process.
    """

    command: list[str]
    folder: str
    environment: dict[str, str]
    descriptors: list[int]
    received: list[int]

    def enter(self) -> None:
        """Give this process the descriptors, environment and folder of the edit."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.close(nowhere)
        moved = [fcntl.fcntl(number, fcntl.F_DUPFD, _FREE_DESCRIPTOR) for number in self.received]
        for number in self.received:
            os.close(number)
        for number, wanted in zip(moved, self.descriptors, strict=True):
            os.dup2(number, wanted)
            os.close(number)
        os.environ.clear()
        os.environ.update(self.environment)
        os.chdir(self.folder)
        sys.argv = [importlib.import_module("snakemake").__file__ or "", *self.command]


class WarmServer:
    """Forks a child for each edit, and tells the client how it ended.

    Args:
        folder: the private folder; its name ends with the identity of this process.
        listener: the socket on which it listens.
        environment: the environment variables that this process was started with.
    """

    def __init__(
        self, folder: Path, listener: socket.socket, environment: Mapping[str, str]
    ) -> None:
        self.folder, self.listener, self._environment = folder, listener, environment
        self.leaving = False
        self.minutes, self.model = 1.0, ""
        self._clients: dict[int, Connection | None] = {}  # of the children; None: it is gone
        self._waiting: list[Connection] = []  # until this process has ended
        self._last = time.monotonic()
        self._wake, self._signals = socket.socketpair()  # ``select`` returns when a child ends
        for end in (self._wake, self._signals):
            end.setblocking(False)
        signal.set_wakeup_fd(self._signals.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.signal(signal.SIGTERM, self._leave)
        signal.signal(signal.SIGINT, self._leave)

    def serve(self) -> Edit | None:
        """Serve until this process has to end. Returns the edit to run in each child."""
        while self._clients or not self._over():
            sockets = [client.socket for client in self._clients.values() if client]
            ready = select.select([self._wake, self.listener, *sockets], [], [], _POLL_SECONDS)[0]
            if self._wake in ready:
                self._wake.recv(4096)
            for pid, client in list(self._clients.items()):
                if client is not None and client.socket in ready:
                    self._hear(pid, client)
            self._report_ended()
            if self.listener in ready and (edit := self._accept()):
                return edit
        return None

    def _over(self) -> bool:
        """Whether to end, while no edit runs: asked to, idle for too long, or the code changed."""
        if self.leaving or time.monotonic() - self._last > 60 * self.minutes:
            return True
        return not self.folder.name.endswith(identity(self._environment))

    def _leave(self, *_: object) -> None:
        self.leaving = True

    def _accept(self) -> Edit | None:
        """Handle a new connection. Returns the edit in the child that is to run it."""
        connection = Connection(self.listener.accept()[0])
        try:
            require_same_user(connection.socket)
            message = connection.receive(_REQUEST_TIMEOUT) or {}
            if "status" in message:
                connection.send({"status": self._status()})
            elif "leave" in message:
                self.leaving = True
                self._waiting.append(connection)
                return None
            elif "edit" in message and self.leaving:
                connection.send({"refused": "the one that is kept is ending"})
            elif "edit" in message:
                return self._fork(connection, message["edit"])
        except (OSError, ProtocolError, KeyError, TypeError, ValueError) as fault:
            sys.stderr.write(f"a request was refused: {fault}\n")
        connection.close()
        return None

    def _fork(self, connection: Connection, request: Any) -> Edit | None:
        received = connection.descriptors
        edit = Edit(**request["run"], received=received)
        if len(edit.descriptors) != len(received):
            raise ProtocolError(f"{len(received)} descriptors came, of {len(edit.descriptors)}")
        self.model, self.minutes = str(request["model"]), float(request["minutes"])
        # A request to stop that arrives before the child is ready for it must not be lost.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        pid = os.fork()
        if pid == 0:
            os.setsid()  # so that jobs can be interrupted with their Snakemake
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            # All of them, as the edit's own descriptors may get their numbers.
            for other in (connection, *filter(None, self._clients.values()), *self._waiting):
                other.socket.close()
            for own in (self.listener, self._wake, self._signals):
                own.close()
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            return edit
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        connection.close_descriptors()
        self._clients[pid] = connection
        with suppress(OSError):  # the client is gone: ``_hear`` stops the edit
            connection.send({"accepted": pid})
        return None

    def _hear(self, pid: int, client: Connection) -> None:
        """Stop an edit whose client asks for that, or is gone."""
        try:
            gone = client.receive(0) is None
        except (TimeoutError, ProtocolError):
            return
        stop_edit(pid)
        if gone:
            client.close()
            self._clients[pid] = None

    def _report_ended(self) -> None:
        for pid, client in list(self._clients.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                if client is not None:
                    with suppress(OSError), closing(client):
                        client.send({"ended": os.waitstatus_to_exitcode(status)})
                del self._clients[pid]
                self._last = time.monotonic()

    def _status(self) -> dict[str, Any]:
        pids = [os.getpid()]
        for serving in self.folder.glob(f"*{SERVING}"):
            with suppress(OSError, ValueError):
                pids.append(int(serving.read_text("ascii")))
        return {
            "pid": os.getpid(),
            "model": self.model,
            "editing": len(self._clients),
            "idle": time.monotonic() - self._last,
            "minutes": self.minutes,
            "memory": sum(map(resident_memory, pids)),
        }


def main(folder: Path) -> None:
    """Serve edits until this process has to end; run an edit in each child."""
    taken = Lock.take(folder / ALIVE)
    if taken is None:  # another process serves this folder
        return
    # Descriptors of edits must not replace it in the children. They keep the lock, so that their
    # workers stay if this process is killed.
    lock = Lock(fcntl.fcntl(taken.handle, fcntl.F_DUPFD_CLOEXEC, _FREE_DESCRIPTOR))
    taken.release()
    environment = dict(os.environ)
    os.chdir("/")  # else the disk with the folder of the first edit could not be unmounted
    for name in _IMPORTED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # so that the memory of these modules stays shared with the children
    path = socket_of(folder)
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen()
    server = WarmServer(folder, listener, environment)
    if edit := server.serve():  # this is a child
        edit.enter()
        importlib.import_module("snakemake.cli").main()
        return
    path.unlink(missing_ok=True)
    listener.close()  # a client that is waiting for an answer runs its edit itself
    Session(folder, lock).close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
