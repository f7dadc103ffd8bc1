"""The job's side of the worker connection: find or start the slot's worker, and send the stage."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

import editinfinity
from editinfinity.cancellation import Cancellation, Stopped
from editinfinity.errors import UserError
from editinfinity.files.model_folder import default_folder
from editinfinity.jobs.record import from_json
from editinfinity.locks import Lock, is_locked
from editinfinity.settings.groups import ModelSettings
from editinfinity.stages.calls import Call
from editinfinity.worker.cards import VISIBLE
from editinfinity.worker.leases import Lease, Slot
from editinfinity.worker.protocol import Connection, ProtocolError, connect
from editinfinity.worker.session import SERVING, SOCKET, STARTING, Session

log = logging.getLogger(__name__)

_START_TIMEOUT = 20.0
"""Seconds within which a new worker must listen. It listens before it imports torch."""

_ANSWER_TIMEOUT = 30.0
"""Seconds within which a listening worker must answer a request."""

_POLL_SECONDS = 0.25
"""Seconds between two checks whether this job has been asked to stop."""


class NoWorkerError(Exception):
    """Raised if no worker ran the stage, so this process must run it. The message says why."""


class UnexpectedError(Exception):
    """Raised if the stage failed in the worker with an error that is not the user's fault."""


def socket_path(session: Session, slot: Slot, model: ModelSettings) -> Path:
    """Return the path of the socket on which the worker of a slot and a model listens.

    The file name is a hash of everything that is fixed for the life of a worker: slot, model, model
    folder, device (which determines the precision), number of threads, and the installation of
    Python and of this package that it runs.
    """
    identity = [
        slot.name,
        model.model,
        None if model.model_dir is None else str(model.model_dir.absolute()),
        model.device,
        str(model.threads),
        sys.executable,
        str(_package_parent()),
    ]
    name = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:12]
    return session.workers / f"{name}{SOCKET}"


def _weights(model: ModelSettings) -> list[tuple[str, int, int, int]]:
    """Return path, size, mtime and inode of every weight file, which differ if one was replaced."""
    folder = default_folder(model.model) if model.model_dir is None else model.model_dir
    found = ((path, path.stat()) for path in sorted(folder.rglob("*")))
    return [(str(path), s.st_size, s.st_mtime_ns, s.st_ino) for path, s in found]


def run_in_worker(
    call: Call, digest: str, session: Session, lease: Lease, cancellation: Cancellation
) -> None:
    """Run a stage in the slot's worker, and wait until it ends.

    The worker also holds the lease while it works, so the slot is not free before the worker is.

    Args:
        call: the stage and its arguments.
        digest: digest of the stage's code.
        session: the run that this job belongs to.
        lease: the lease of the slot.
        cancellation: of this job. A request to stop is passed on to the worker.

    Raises:
        NoWorkerError: if there is no worker, it refused, or it died.
        UserError: if the stage raises it.
        Stopped: if the job was asked to stop, and the worker stopped.
        UnexpectedError: if the stage failed for another reason.
    """
    model = call.arguments["model"]
    path = socket_path(session, lease.slot, model)
    try:
        request = {
            "run": {
                "call": call.to_json(),
                "digest": digest,
                "folder": os.getcwd(),  # noqa: PTH109  # spelled as it is
                "weights": _weights(model),
            }
        }
        with cancellation.deferred():
            for _ in range(2):  # a worker that is about to exit closes without an answer
                with closing(_connect_or_start(path, lease)) as connection:
                    try:
                        connection.send(request, [lease.lock.handle])
                        answer = connection.receive(_ANSWER_TIMEOUT)
                    except BrokenPipeError:
                        continue
                    if answer is None:
                        continue
                    if "accepted" not in answer:
                        raise NoWorkerError(str(answer.get("refused", answer)))
                    _wait_for_outcome(connection, cancellation, path)
                    return
    except (OSError, ProtocolError) as fault:
        raise NoWorkerError(f"no worker can be reached ({fault})") from None
    raise NoWorkerError(f"the worker closed the connection{_log_tail(path)}")


def _wait_for_outcome(connection: Connection, cancellation: Cancellation, path: Path) -> None:
    """Log what the worker logs until the stage ends, and raise the error that it reports."""
    stop_sent = False
    while True:
        if cancellation.stop_reason is not None and not stop_sent:
            stop_sent = True
            with suppress(OSError):  # the worker is gone: the receive below reports it
                connection.send({"stop": cancellation.stop_reason})
        try:
            message = connection.receive(_POLL_SECONDS)
        except TimeoutError:
            continue
        except ProtocolError as fault:
            raise NoWorkerError(str(fault)) from None
        if message is None:
            if cancellation.stop_reason is not None:
                raise Stopped(f"stopped ({cancellation.stop_reason})")
            raise NoWorkerError(f"the worker died{_log_tail(path)}")
        ((kind, content),) = message.items()
        match kind:
            case "log":
                level, text, event = content
                log.log(int(level), "%s", text, extra={"event": from_json(event)})
            case "done":
                return
            case "fault":
                raise UserError(content)
            case "stopped":
                raise Stopped(content)
            case "unexpected":
                raise UnexpectedError(content)
            case _:
                raise NoWorkerError(str(content))


def _connect_or_start(path: Path, lease: Lease) -> Connection:
    """Connect to the worker. Start one if none is running.

    Raises:
        OSError: if no worker can be started or reached.
    """
    try:
        return connect(path)
    except OSError:
        pass
    starting = Lock.take(path.with_suffix(STARTING), wait=True)
    assert starting is not None, "waited for"
    with starting:
        process = None
        deadline = time.monotonic() + _START_TIMEOUT
        while True:
            try:
                return connect(path)
            except OSError as fault:
                if time.monotonic() > deadline:
                    raise
                if process is not None and process.poll() is not None:
                    raise OSError(f"the new worker exited{_log_tail(path)}") from fault
            # A worker that is exiting still holds its lock, and a new one would exit at once.
            if process is None and not is_locked(path.with_suffix(SERVING)):
                process = _start(path, lease)
            time.sleep(0.01)


def _start(path: Path, lease: Lease) -> subprocess.Popen[bytes]:
    """Start a worker process, which outlives this job."""
    environment = dict(os.environ)
    if lease.slot.card is not None:
        environment[VISIBLE] = lease.slot.card.entry
    paths = [str(_package_parent()), *filter(None, [environment.get("PYTHONPATH")])]
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    with path.with_suffix(".log").open("ab") as output:
        return subprocess.Popen(
            # -P: modules in the working folder must not shadow the standard library.
            [sys.executable, "-P", "-m", "editinfinity.worker.server", str(path), str(lease.path)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            start_new_session=True,
        )


def _package_parent() -> Path:
    """Return the folder for PYTHONPATH, symbolic links unresolved (``location.export_package``)."""
    return Path(editinfinity.__path__[0]).parent


def _log_tail(path: Path) -> str:
    """Return the end of the worker's log, to be appended to an error message."""
    try:
        lines = path.with_suffix(".log").read_text("utf-8", errors="replace").split("\n")
    except OSError:
        return ""
    tail = " ".join(line.strip() for line in lines[-4:] if line.strip())
    return f": {tail[-300:]}" if tail else ""
