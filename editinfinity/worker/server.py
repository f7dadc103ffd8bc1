"""The worker process: keeps models loaded and runs one stage at a time for the jobs of a run.

Started as ``python -m editinfinity.worker.server SOCKET LEASE``. It listens before it imports any
large library, so the job that started it can send its stage at once. It exits when it is told to
leave, after ``IDLE_SECONDS`` without a job, when its run of the workflow is over, and after any
unexpected error. The worker of a warm process stays until that has ended, but not beside another
run's job on its GPU.
"""

from __future__ import annotations

import importlib
import logging
import os
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editinfinity.cancellation import Cancellation, Stopped
from editinfinity.errors import GpuMemoryError, UserError, first_sentence
from editinfinity.jobs.record import logged_event, to_json
from editinfinity.jobs.stage_version import current_digests, running_digests
from editinfinity.locks import Lock, is_locked
from editinfinity.stages.calls import Call
from editinfinity.stages.host import Model
from editinfinity.worker.protocol import Connection, ProtocolError, require_same_user
from editinfinity.worker.resource_usage import JobHost, measured
from editinfinity.worker.session import SERVING, Session

if TYPE_CHECKING:
    from editinfinity.worker.warm import WarmModels

log = logging.getLogger(__name__)

IDLE_SECONDS = 300.0
"""Seconds that a worker waits for another job before it exits."""

_POLL_SECONDS = 1.0
"""Seconds between two checks whether the run is over."""

_REQUEST_TIMEOUT = 10.0
"""Seconds within which a connected job must send its request."""


class Worker:
    """Serves the jobs that connect to one socket.

    Args:
        path: path of the socket, in the folder of the run or of a warm process.
        lease: file of the lock that jobs of the worker's slot hold.
        idle: seconds without a job after which to exit, see ``IDLE_SECONDS``.
    """

    def __init__(self, path: Path, lease: Path, idle: float = IDLE_SECONDS) -> None:
        self.path, self.lease, self.idle = path, lease, idle
        self.session = Session(path.parent)
        self.cancellation = Cancellation()
        self.exiting = False
        self._imported: set[str] = set()
        self._models: WarmModels | None = None
        self._weights: Any = None
        # Taken before any stage is imported, so that later changes of the code are noticed.
        self.digests = running_digests()

    def serve(self, listener: socket.socket) -> None:
        """Serve one job after the other until the worker has to exit."""
        last, taken = time.monotonic(), False
        while not self.exiting and not self.cancellation.signalled:
            if select.select([listener], [], [], _POLL_SECONDS)[0]:
                self._handle_connection(Connection(listener.accept()[0]))
                last, taken = time.monotonic(), False
            elif not self.session.alive:
                break
            elif not self.session.stays:
                if time.monotonic() - last > self.idle:
                    break
            # A job of another run: one of this worker would have connected since the last check.
            elif is_locked(self.lease) and taken:
                break
            else:
                taken = is_locked(self.lease)

    def _handle_connection(self, connection: Connection) -> None:
        """Handle the request of one connection."""
        with closing(connection):  # also releases the lease: closes the descriptor of its lock
            try:
                require_same_user(connection.socket)
                message = connection.receive(_REQUEST_TIMEOUT) or {}
                if "leave" in message:
                    self.exiting = True
                elif "run" in message:
                    self._handle_run(connection, message["run"])
            except (OSError, TimeoutError, ProtocolError) as fault:
                log.warning("the connection of a job was closed: %s", fault)

    def _handle_run(self, connection: Connection, request: Any) -> None:
        """Accept a job and run it, or refuse it."""
        try:
            call, digest = Call.from_json(request["call"]), request["digest"]
            os.chdir(request["folder"])  # relative paths are seen from there
            weights = request["weights"]
        except (KeyError, TypeError, ValueError, OSError, UserError) as fault:
            connection.send({"refused": str(fault)})
            return
        if self.digests[call.stage] != digest:
            connection.send({"refused": f"the worker runs other code of {call.stage}"})
            return
        if weights != self._weights:  # else the models of replaced files would be used
            self._models, self._weights = None, weights
        connection.send({"accepted": os.getpid()})
        with _forwarding_logs(connection):
            outcome = self._run_stage(call, connection)
        os.chdir("/")  # else a disk with the folder could not be unmounted while this worker stays
        connection.send(outcome)

    def _run_stage(self, call: Call, connection: Connection) -> dict[str, str | None]:
        """Run a stage, and return how it ended as a message of the protocol.

        The message is ``done``, ``fault``, ``stopped``, ``unexpected``, or again ``refused`` if the
        code of the stage turns out to have changed when it is imported.
        """
        try:
            # Inside interruptible(), a stop request raises Stopped; _stoppable makes such requests.
            with self.cancellation.interruptible(), _stoppable(connection, self.cancellation):
                if not self._import(call.stage):
                    self.exiting = True
                    return {"refused": f"the code of {call.stage} has changed"}
                self._run_with_models(call)
        except UserError as error:
            return {"fault": str(error)}
        except Stopped as stopped:
            return {"stopped": str(stopped)}
        except Exception as error:
            # This process may be in a bad state: it exits, and the next job starts a new worker.
            self.exiting = True
            log.exception("unexpected error")
            return {"unexpected": f"{type(error).__name__}: {first_sentence(error)}"}
        return {"done": None}

    def _import(self, stage: str) -> bool:
        """Import a stage. Returns False if its code has changed since this worker started."""
        if stage not in self._imported:
            importlib.import_module(f"editinfinity.stages.{stage}")
            if current_digests()[stage] != self.digests[stage]:
                return False
            self._imported.add(stage)
        return True

    def _run_with_models(self, call: Call) -> None:
        if self._models is None:
            self._models = _warm_models(call.arguments["model"].device)
        host = _WarmHost(self._models, self.cancellation)
        with measured(call.stage):
            try:
                try:
                    call.run(host)
                    return
                except GpuMemoryError as fault:
                    log.info("%s; trying again with no other model on the GPU", fault)
                # Outside the except block, because the exception keeps tensors of the run alive.
                self._models.finish_job(call.stage)
                self._models.park_all()
                call.run(host)
            finally:
                self._models.finish_job(call.stage)


class _WarmHost(JobHost):
    """The host of a stage in a worker: it loads models from the worker's cache."""

    def __init__(self, models: WarmModels, cancellation: Cancellation) -> None:
        super().__init__(cancellation)
        self.models = models

    def load(self, loader: Callable[..., Model], *arguments: object) -> Model:
        return self.models.load(loader, *arguments)

    def keep(self, name: str, value: object) -> None:
        self.models.keep(name, value)

    def take(self, name: str) -> object | None:
        return self.models.take(name)


def _warm_models(device: str) -> WarmModels:
    """Return an empty model cache for a device."""
    # Imported late because they import torch, which must not delay listening.
    from editinfinity.compute import pick_device
    from editinfinity.worker.memory import MemoryBudget
    from editinfinity.worker.warm import WarmModels

    return WarmModels(MemoryBudget(pick_device(device)))


@contextmanager
def _stoppable(connection: Connection, cancellation: Cancellation) -> Iterator[None]:
    """Within the block, stop the stage if its job asks for that or disconnects."""
    read_end, write_end = os.pipe()

    def listen() -> None:
        if read_end in select.select([connection.socket.fileno(), read_end], [], [])[0]:
            return
        try:
            message = connection.receive() or {}
        except ProtocolError:
            message = {}
        cancellation.request_stop(str(message.get("stop", "its job has ended")))

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield
    finally:
        os.write(write_end, b".")
        thread.join()
        os.close(read_end)
        os.close(write_end)


class _Forwarder(logging.Handler):
    """Sends log records to the job, which writes them to its own log and record."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(logging.INFO)
        self.connection = connection
        self.setFormatter(logging.Formatter("%(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        event = logged_event(record)
        content = [record.levelno, self.format(record), None if event is None else to_json(event)]
        with suppress(OSError):  # the job has ended; ``_stoppable`` notices that
            self.connection.send({"log": content})


@contextmanager
def _forwarding_logs(connection: Connection) -> Iterator[None]:
    handler, root = _Forwarder(connection), logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


def main(path: Path, lease: Path, idle: float = IDLE_SECONDS) -> None:
    """Run a worker on a socket until it has to exit, then remove its files."""
    serving = Lock.take(path.with_suffix(SERVING))
    if serving is None:  # another worker serves this socket
        return
    os.ftruncate(serving.handle, 0)
    os.write(serving.handle, b"%d\n" % os.getpid())  # for ``editinfinity doctor``
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.captureWarnings(True)
    with serving, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen()
        worker = Worker(path, lease, idle)
        try:
            with worker.cancellation.handling_signals(), suppress(Stopped):
                worker.serve(listener)
        finally:
            path.unlink(missing_ok=True)
    worker.session.remove_if_over()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
