"""Run Snakemake for an edit in the process that stays between edits (``--keep-warm``)."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import subprocess
import sys
import sysconfig
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from editinfinity.display.terminal import DRAW_ON
from editinfinity.environment import ERROR_FILE, PACKAGE, workflow_root
from editinfinity.jobs.stage_version import VERSIONS
from editinfinity.locks import is_locked
from editinfinity.worker.private import private_folder, require_private
from editinfinity.worker.protocol import Connection, ProtocolError, connect
from editinfinity.worker.session import ALIVE, SESSION, WARM_PREFIX, WORKERS
from editinfinity.worker.warm_process import end_warm_process, socket_of, stop_edit, warm_processes

log = logging.getLogger(__name__)

DEFAULT_MINUTES = 5
"""Minutes for which the process of an edit at a terminal is kept."""

_START_TIMEOUT = 60.0
"""Seconds within which a new warm process must listen: it imports Snakemake first."""

_ANSWER_TIMEOUT = 30.0
"""Seconds within which a warm process must begin an edit."""

_OF_ONE_COMMAND = frozenset(
    {
        *(DRAW_ON, ERROR_FILE, SESSION, WORKERS, "_", "OLDPWD", "PWD", "SHLVL"),
        # of the terminal
        *("COLUMNS", "LINES", "GPG_TTY", "SSH_CLIENT", "SSH_CONNECTION", "SSH_TTY"),
        *("TERM_SESSION_ID", "TMUX", "TMUX_PANE", "WINDOWID"),
    }
)
"""Environment variables that may differ between the edits of one warm process."""


@dataclass(frozen=True)
class KeepWarm:
    """How long to keep the process of an edit.

    Attributes:
        minutes: minutes without an edit after which it ends.
        model: name of the edit's model, shown by ``editinfinity doctor``.
    """

    minutes: float
    model: str


def keep_warm_for(minutes: float | None, model: str) -> KeepWarm | None:
    """Return how long to keep the process of an edit; None if it is not to be kept.

    Args:
        minutes: what the user asked for; None for the default: somebody at a terminal probably
            tries another prompt, a script may not.
        model: name of the edit's model.
    """
    if sys.platform != "linux":  # libraries of macOS must not be used after a fork
        if minutes:
            log.warning("--keep-warm: works on Linux only; nothing is kept loaded")
        return None
    if minutes is None:
        minutes = DEFAULT_MINUTES if sys.stderr.isatty() else 0
    return KeepWarm(minutes, model) if minutes > 0 else None


class WarmProcessKilledError(Exception):
    """Raised where the warm process was killed during a run, which goes on without it."""


class WarmRun:
    """A run of Snakemake in a child of the warm process; used like ``subprocess.Popen``.

    Attributes:
        stderr: what the run writes to its stderr.
        returncode: exit status; None while it runs.
    """

    def __init__(self, connection: Connection, stderr: IO[str], pid: int) -> None:
        self.stderr, self._connection, self._pid = stderr, connection, pid
        self.returncode: int | None = None

    def terminate(self) -> None:
        """Stop the run and its jobs, as Ctrl-C at a terminal does."""
        try:
            self._connection.send({"interrupt": None})
        except OSError:  # the warm process was killed, and its child runs on
            stop_edit(self._pid)

    def communicate(self) -> None:
        """Read the rest of stderr and wait until the run has ended."""
        self.stderr.read()
        with suppress(WarmProcessKilledError):
            self.wait()

    def wait(self) -> None:
        """Wait until the run has ended.

        Raises:
            WarmProcessKilledError: the warm process was killed, so nobody knows how the run ended.
        """
        if self.returncode is None:
            try:
                message = self._connection.receive()
            except ProtocolError:
                message = None
            if message is None:
                raise WarmProcessKilledError
            self.returncode = message["ended"]

    def __enter__(self) -> WarmRun:
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.close()
        self.stderr.close()


def run_warm(
    keep: KeepWarm,
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    descriptors: Sequence[int],
) -> WarmRun | None:
    """Run Snakemake in the warm process, which is started if there is none.

    Args:
        keep: how long to keep the process.
        command: arguments of Snakemake.
        folder: its working folder.
        environment: its environment variables.
        descriptors: file descriptors that it inherits, with their numbers.

    Returns:
        The run; None if there can be no warm process.
    """
    read_end, write_end = os.pipe()
    stderr = os.fdopen(read_end, encoding="utf-8", errors="replace")
    try:
        private = _make_folder(environment)
        connection = _connect_or_start(private, environment)
        edit = {
            "command": list(command),
            "folder": str(folder.absolute()),
            "environment": {**environment, WORKERS: str(private)},
            "descriptors": [2, *descriptors],
        }
        request = {"run": edit, "model": keep.model, "minutes": keep.minutes}
        try:
            connection.send({"edit": request}, [write_end, *descriptors])
            answer = connection.receive(_ANSWER_TIMEOUT) or {"refused": "it has just ended"}
            if "accepted" not in answer:
                raise ProtocolError(str(answer["refused"]))
        except BaseException:
            connection.close()
            raise
    except (OSError, ProtocolError) as fault:
        log.warning("--keep-warm: this edit runs without a warm process (%s)", fault)
        stderr.close()
        return None
    finally:
        os.close(write_end)
    return WarmRun(connection, stderr, answer["accepted"])


def identity(environment: Mapping[str, str] = os.environ) -> str:
    """Return a hash of all that an edit takes from the process that it is forked from.

    That is: the code of package, workflow and Python, the environment variables, and what a process
    inherits from the one that started it. If one differs, another warm process is used.

    Args:
        environment: environment variables of the run.
    """
    import resource  # only POSIX has it
    import site

    root = workflow_root()
    sources = [root / "Snakefile", *PACKAGE.rglob("*.py"), PACKAGE / VERSIONS]
    sources += [*(root / "rules").rglob("*"), *(root / "scripts").rglob("*.py")]
    packages = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    packages |= {*site.getsitepackages(), site.getusersitepackages()}
    # Of a container or sandbox, where the same paths may be other files.
    namespaces = [Path("/proc/self/ns", name).resolve().name for name in ("mnt", "pid")]
    umask = os.umask(0o077)
    os.umask(umask)
    facts = [
        [sys.executable, sys.version, str(PACKAGE)],
        [_state(path) for path in sorted({*sources, *map(Path, packages)})],
        sorted((k, v) for k, v in environment.items() if k not in _OF_ONE_COMMAND),
        [umask, os.getpriority(os.PRIO_PROCESS, 0), os.getgroups()],
        [sorted(os.sched_getaffinity(0)), namespaces],  # the first decides ``threads: auto``
        [resource.getrlimit(getattr(resource, n)) for n in dir(resource) if n.startswith("RLIMIT")],
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]


def _state(path: Path) -> tuple[str, int, int]:
    """Return path, size and mtime of a file; (path, 0, 0) if it is gone."""
    try:
        facts = path.stat()
    except OSError:
        return str(path), 0, 0
    return str(path), facts.st_size, facts.st_mtime_ns


def _make_folder(environment: Mapping[str, str]) -> Path:
    """Return the private folder of the warm process for an environment; create it if missing."""
    folder = private_folder() / f"{WARM_PREFIX}{identity(environment)}"
    folder.mkdir(mode=0o700, exist_ok=True)
    require_private(folder)
    return folder


def _connect_or_start(folder: Path, environment: Mapping[str, str]) -> Connection:
    """Connect to the warm process; start one if none is running, and end the others.

    Raises:
        OSError: none can be started or reached.
    """
    path = socket_of(folder)
    process: subprocess.Popen[bytes] | None = None
    deadline = time.monotonic() + _START_TIMEOUT
    while True:
        try:
            return connect(path)
        except OSError:
            if time.monotonic() > deadline:
                raise
        if not is_locked(folder / ALIVE):
            # The last worker of one that was killed may have removed the folder meanwhile.
            if process is None or (process.poll() is not None and not folder.exists()):
                folder.mkdir(mode=0o700, exist_ok=True)
                for other in warm_processes():
                    end_warm_process(other.folder, wait=False)
                process = _start(folder, environment)
            elif process.poll() is not None:
                raise OSError(f"it ended; see {folder / 'log'}")
        time.sleep(0.02)


def _start(folder: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    own = {k: v for k, v in environment.items() if k not in (DRAW_ON, ERROR_FILE)}
    with (folder / "log").open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", f"{__package__}.warm_server", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=own,
            start_new_session=True,
        )
