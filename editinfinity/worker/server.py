"""The worker: a process that keeps models warm and runs one stage at a time for the jobs of a run.

``python -m editinfinity.worker.server SOCKET``, in the folder the workflow runs in. It listens
before it has imported anything large, so that the job which started it can hand over at once. It
leaves when sent away, when it had nothing to do for a while, when its run of the workflow is over,
and after any fault that it does not understand.
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
from editinfinity.errors import MemoryFault, UserError
from editinfinity.jobs.record import event_of, to_json
from editinfinity.jobs.stage_version import current_digests, running_digests
from editinfinity.locks import Lock
from editinfinity.stages.calls import Call
from editinfinity.stages.host import Model
from editinfinity.worker.protocol import Line, ProtocolError, require_same_user
from editinfinity.worker.resource_usage import JobHost, measured
from editinfinity.worker.session import SERVING, Session

if TYPE_CHECKING:
    from editinfinity.worker.warm import WarmModels

log = logging.getLogger(__name__)

IDLE_SECONDS = 300.0
"""How long a worker waits for another job."""

_LOOK = 1.0
"""Seconds between two looks at whether the run is over."""

_GREETING = 10.0
"""Seconds a job has to say what it wants."""


class Worker:
    """Serves one socket.

    Args:
        path: where to listen; its folder is the run's.
        idle: see ``IDLE_SECONDS``.
    """

    def __init__(self, path: Path, idle: float = IDLE_SECONDS) -> None:
        self.path, self.idle = path, idle
        self.session = Session(path.parent)
        self.cancellation = Cancellation()
        self.leaving = False
        self._imported: set[str] = set()
        self._models: WarmModels | None = None
        # The code as it is now, before any of it is imported.
        self.digests = running_digests()

    def serve(self, listener: socket.socket) -> None:
        """Take one job after the other until it is time to leave."""
        last = time.monotonic()
        while not self.leaving and not self.cancellation.signalled:
            if select.select([listener], [], [], _LOOK)[0]:
                self._answer(Line(listener.accept()[0]))
                last = time.monotonic()
            elif time.monotonic() - last > self.idle or not self.session.alive:
                break

    def _answer(self, line: Line) -> None:
        """Do whatever one caller wants."""
        with closing(line):  # which gives the lease back too
            try:
                require_same_user(line.socket)
                message = line.receive(_GREETING) or {}
                if "leave" in message:
                    self.leaving = True
                elif "run" in message:
                    self._take(line, message["run"])
            except (OSError, TimeoutError, ProtocolError) as fault:
                log.warning("a caller was turned away: %s", fault)

    def _take(self, line: Line, request: Any) -> None:
        """Accept a job or refuse it."""
        try:
            call, digest = Call.from_json(request["call"]), request["digest"]
        except (KeyError, TypeError, ValueError, UserError) as fault:
            line.send({"refused": str(fault)})
            return
        if self.digests[call.stage] != digest:
            line.send({"refused": f"{call.stage} has other code than the worker"})
            return
        line.send({"accepted": os.getpid()})
        with _forwarding_logs(line):
            outcome = self._run(call, line)
        line.send(outcome)

    def _run(self, call: Call, line: Line) -> dict[str, str | None]:
        """Run a stage; how it went."""
        try:
            with self.cancellation.working(), _listening(line, self.cancellation):
                if not self._import(call.stage):
                    self.leaving = True
                    return {"refused": f"the code of {call.stage} has changed"}
                self._run_with_models(call)
        except UserError as fault:
            return {"fault": str(fault)}
        except Stopped as stopped:
            return {"stopped": str(stopped)}
        except Exception as fault:
            # The next job gets a worker that is known to be sound.
            self.leaving = True
            log.exception("an unexpected fault")
            return {"unexpected": " ".join(f"{type(fault).__name__}: {fault}".split())}
        return {"done": None}

    def _import(self, stage: str) -> bool:
        """Import a stage; False if its code is not what it was when this worker began."""
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
                except MemoryFault as fault:
                    log.info("%s; once more, with the card to itself", fault)
                # Only here, with the fault, what it met in memory has been let go.
                self._models.finish_job()
                self._models.park_all()
                call.run(host)
            finally:
                self._models.finish_job()


class _WarmHost(JobHost):
    """A stage's view of the worker."""

    def __init__(self, models: WarmModels, cancellation: Cancellation) -> None:
        super().__init__(cancellation)
        self.models = models

    def load(self, loader: Callable[..., Model], *arguments: object) -> Model:
        return self.models.load(loader, *arguments)


def _warm_models(device: str) -> WarmModels:
    """Nothing yet, and the memory of a device to keep it in."""
    # Not before a job is there: this imports torch.
    from editinfinity.compute import pick_device
    from editinfinity.worker.memory import MemoryBudget
    from editinfinity.worker.warm import WarmModels

    return WarmModels(MemoryBudget(pick_device(device)))


@contextmanager
def _listening(line: Line, cancellation: Cancellation) -> Iterator[None]:
    """Stop the stage when its job asks for it, or is gone."""
    end, other_end = os.pipe()

    def listen() -> None:
        if end in select.select([line.socket.fileno(), end], [], [])[0]:
            return
        try:
            message = line.receive() or {}
        except ProtocolError:
            message = {}
        cancellation.ask(str(message.get("stop", "its job is gone")))

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield
    finally:
        os.write(other_end, b".")
        thread.join()
        os.close(end)
        os.close(other_end)


class _Forwarder(logging.Handler):
    """Sends what is logged to the job, whose log and record it belongs to."""

    def __init__(self, line: Line) -> None:
        super().__init__(logging.INFO)
        self.line = line
        self.setFormatter(logging.Formatter("%(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        event = event_of(record)
        content = [record.levelno, self.format(record), None if event is None else to_json(event)]
        with suppress(OSError):  # the job is gone; whoever listens to the line notices
            self.line.send({"log": content})


@contextmanager
def _forwarding_logs(line: Line) -> Iterator[None]:
    handler, root = _Forwarder(line), logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


def main(path: Path, idle: float = IDLE_SECONDS) -> None:
    """Listen on a socket until it is time to leave; nothing stays behind."""
    serving = Lock.take(path.with_suffix(SERVING))
    if serving is None:  # another one serves there
        return
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.captureWarnings(True)
    with serving, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen()
        worker = Worker(path, idle)
        try:
            with worker.cancellation.listening(), suppress(Stopped):
                worker.serve(listener)
        finally:
            path.unlink(missing_ok=True)
    worker.session.tidy()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
