"""A job's side: find the worker of its slot, or start it, and hand the stage over."""

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
from editinfinity.jobs.record import from_json
from editinfinity.locks import Lock, held
from editinfinity.settings.groups import ModelSettings
from editinfinity.stages.calls import Call
from editinfinity.worker.cards import VISIBLE
from editinfinity.worker.leases import Lease, Slot
from editinfinity.worker.protocol import Line, ProtocolError, connect
from editinfinity.worker.session import SERVING, SOCKET, STARTING, Session

log = logging.getLogger(__name__)

_START_SECONDS = 20.0
"""How long a new worker may take until it listens, which it does before it imports torch."""

_GREETING = 30.0
"""How long a worker that listens may take to answer."""

_GLANCE = 0.25
"""Seconds between two looks at whether this job is to stop."""


class NoWorkerError(Exception):
    """No worker has run the stage; this process has to. The message says why."""


class UnexpectedFault(Exception):
    """The stage failed in the worker with something that is no user's fault."""


def socket_of(session: Session, slot: Slot, model: ModelSettings) -> Path:
    """Where the worker of a slot and a model listens.

    The name stands for everything a worker cannot change: folder, model, device and with it
    precision, threads, and whose code and libraries it runs.
    """
    facts = [
        os.getcwd(),  # noqa: PTH109  # as the jobs' relative paths see it
        slot.name,
        model.model,
        str(model.model_dir),
        model.device,
        str(model.threads),
        sys.executable,
        str(_package_parent()),
    ]
    name = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]
    return session.folder / f"{name}{SOCKET}"


def hand_over(
    call: Call, digest: str, session: Session, lease: Lease, cancellation: Cancellation
) -> None:
    """Have the slot's worker run a stage, and wait for its end.

    The worker holds the lease too while it works, so that a slot is not free before it is.

    Args:
        call: the stage.
        digest: of its code.
        session: the run this job belongs to.
        lease: of the slot.
        cancellation: asks the worker to stop when this job is asked.

    Raises:
        NoWorkerError: there is none, it refused, or it died.
        UserError: as the stage does.
        Stopped: somebody asked to stop, and the worker did.
        UnexpectedFault: the stage failed for another reason.
    """
    path = socket_of(session, lease.slot, call.arguments["model"])
    request = {"run": {"call": call.to_json(), "digest": digest}}
    try:
        with cancellation.patience():
            for _ in range(2):  # one that was about to leave hangs up without an answer
                with closing(_reach(path, lease.slot)) as line:
                    try:
                        line.send(request, [lease.lock.handle])
                        answer = line.receive(_GREETING)
                    except BrokenPipeError:
                        continue
                    if answer is None:
                        continue
                    if "accepted" not in answer:
                        raise NoWorkerError(str(answer.get("refused", answer)))
                    _follow(line, cancellation, path)
                    return
    except (OSError, ProtocolError) as fault:
        raise NoWorkerError(f"there is no worker ({fault})") from None
    raise NoWorkerError(f"the worker hangs up{_last_words(path)}")


def _follow(line: Line, cancellation: Cancellation, path: Path) -> None:
    """Pass on what the worker logs until it is done."""
    told = False
    while True:
        if cancellation.asked is not None and not told:
            told = True
            with suppress(OSError):  # gone: the next look says so
                line.send({"stop": cancellation.asked})
        try:
            message = line.receive(_GLANCE)
        except TimeoutError:
            continue
        except ProtocolError as fault:
            raise NoWorkerError(str(fault)) from None
        if message is None:
            if cancellation.asked is not None:
                raise Stopped(f"stopped ({cancellation.asked})")
            raise NoWorkerError(f"the worker died{_last_words(path)}")
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
                raise UnexpectedFault(content)
            case _:
                raise NoWorkerError(str(content))


def _reach(path: Path, slot: Slot) -> Line:
    """A line to the worker; one is started if there is none.

    Raises:
        OSError: none can be had.
    """
    try:
        return connect(path)
    except OSError:
        pass
    starting = Lock.take(path.with_suffix(STARTING), wait=True)
    assert starting is not None, "waited for"
    with starting:
        process = None
        give_up = time.monotonic() + _START_SECONDS
        while True:
            try:
                return connect(path)
            except OSError as fault:
                if time.monotonic() > give_up:
                    raise
                if process is not None and process.poll() is not None:
                    raise OSError(f"it ended{_last_words(path)}") from fault
            # One that is on its way out still holds its lock, and would send a new one home.
            if process is None and not held(path.with_suffix(SERVING)):
                process = _start(path, slot)
            time.sleep(0.01)


def _start(path: Path, slot: Slot) -> subprocess.Popen[bytes]:
    """A new worker, which outlives this job."""
    environment = dict(os.environ)
    if slot.card is not None:
        environment[VISIBLE] = slot.card.entry
    paths = [str(_package_parent()), *filter(None, [environment.get("PYTHONPATH")])]
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    with path.with_suffix(".log").open("ab") as output:
        return subprocess.Popen(
            # -P: modules of the folder the workflow runs in must not pass for Python's own.
            [sys.executable, "-P", "-m", "editinfinity.worker.server", str(path)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            start_new_session=True,
        )


def _package_parent() -> Path:
    """What has to be on the path, symbolic links as they are (``location.lend_to_jobs``)."""
    return Path(editinfinity.__path__[0]).parent


def _last_words(path: Path) -> str:
    """The end of a worker's own log, as part of a line."""
    try:
        lines = path.with_suffix(".log").read_text("utf-8", errors="replace").split("\n")
    except OSError:
        return ""
    words = " ".join(line.strip() for line in lines[-4:] if line.strip())
    return f": {words[-300:]}" if words else ""
