"""Runs the workflow for the cases of the page, and follows its progress."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from editinfinity.app.events import Events
from editinfinity.app.project import Project
from editinfinity.environment import ERROR_FILE
from editinfinity.errors import UserError
from editinfinity.files.atomic import write_text
from editinfinity.jobs.record import Iteration, read_records
from editinfinity.locks import Lock
from editinfinity.names import printable
from editinfinity.planning.user_environment import without_snakemake_variables
from editinfinity.results.outcomes import failure_message, killed_job_message

IDLE, RUNNING, DONE, FAILED, CANCELLED = "idle", "running", "done", "failed", "cancelled"
"""States of the run."""

_JOB = re.compile(r"Job \d+: (.*)")
_STEPS = re.compile(r"(\d+) of (\d+) steps")
_TOTAL = re.compile(r"total\s+(\d+)")
_LOG = re.compile(r"log: results/(.*)/logs/")

_POLL_SECONDS = 1.0
"""Seconds between two looks at the record of a training."""

_EXIT_TIMEOUT = 20.0
"""Seconds within which Snakemake must exit when it is told to; a training is saved first."""

_END_OF_RECORD = 2**14
"""Bytes to read from the end of a record."""


class WorkflowRun:
    """The run of all cases of the project, one at a time.

    Args:
        project: the project folder.
        events: told to all open pages.
        make_room: called before a run, to free the memory that its jobs need.
    """

    def __init__(self, project: Project, events: Events, make_room: Callable[[], None]) -> None:
        self.project, self.events, self._make_room = project, events, make_room
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._thread: threading.Thread | None = None
        self._cancelled = False
        self._state, self._line, self._detail = IDLE, "", ""
        self._done = self._of = 0
        self._case = ""
        self._failed: dict[str, str] = {}

    def state(self) -> dict[str, Any]:
        """Return the state as the page reads it."""
        return {
            "state": self._state,
            "done": self._done,
            "of": self._of,
            "line": self._line + self._detail,
            "failed": [{"id": case, "line": line} for case, line in self._failed.items()],
            "report": (self._results / "report.html").is_file(),
        }

    def start(self) -> None:
        """Start the workflow for all photographs that have a prompt.

        Raises:
            UserError: there is none, or a run of this folder is in progress.
        """
        with self._lock:
            cases = self.project.cases_to_run()
            if not cases:
                raise UserError("no photograph has a prompt yet; write what each edit shows")
            lock = None if self._state == RUNNING else Lock.take(self.project.folder / ".running")
            if lock is None:
                raise UserError("a run of this folder is in progress; wait for it to end")
            with lock:
                self.project.write_config()
                self._make_room()
                self._state, self._line, self._detail = RUNNING, "planning", ""
                self._done = self._of = 0
                self._failed, self._cancelled = {}, False
                handle, errors = tempfile.mkstemp(prefix="editinfinity-")
                os.close(handle)
                self._process = self._started(Path(errors), lock)
        follow = threading.Thread(target=self._follow, args=(self._process, cases, Path(errors)))
        self._thread = follow
        follow.start()
        self._tell()

    def cancel(self) -> None:
        """Ask Snakemake and its jobs to stop; what is being trained is saved."""
        with self._lock:
            process = self._process
            if process is not None and process.poll() is None:
                self._cancelled = True
                self._line, self._detail = "stopping", ""
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)  # Snakemake alone waits for its jobs
        self._tell()

    def close(self) -> None:
        """Stop a run, and leave none of its processes."""
        self.cancel()
        process, thread = self._process, self._thread
        if process is None or thread is None:
            return
        with suppress(subprocess.TimeoutExpired):
            process.wait(_EXIT_TIMEOUT)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        thread.join()

    @property
    def _results(self) -> Path:
        return self.project.folder / "results"

    def _started(self, errors: Path, lock: Lock) -> subprocess.Popen[str]:
        """Start Snakemake, which holds the lock of the folder as long as it runs."""
        command = [sys.executable, "-P", "-m", "editinfinity", "run", "--nolock"]
        return subprocess.Popen(
            [*command, "--rerun-incomplete", "--resources", "gpu=1"],
            cwd=self.project.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            pass_fds=[lock.handle],
            start_new_session=True,  # Ctrl-C is for the app, which then stops it
            env={
                **without_snakemake_variables(os.environ),
                ERROR_FILE: str(errors),
                "PYTHONIOENCODING": "utf-8:backslashreplace",
            },
        )

    def _follow(self, process: subprocess.Popen[str], cases: Sequence[str], errors: Path) -> None:
        """Read what Snakemake prints until it ends."""
        since, ended = time.time(), threading.Event()
        watch = threading.Thread(target=self._watch_training, args=(since, ended), daemon=True)
        watch.start()
        assert process.stderr is not None
        output = list(self._read(process.stderr, cases, since))
        code = process.wait()
        ended.set()
        watch.join()
        told = errors.read_text("utf-8", errors="replace").splitlines()
        errors.unlink(missing_ok=True)
        self._find_failures(cases, since)
        self._detail = ""
        if self._cancelled:
            self._state, self._line = CANCELLED, "stopped; run again to continue"
        elif self._failed:
            self._state = FAILED
            self._line = f"{len(self._failed)} of {len(cases)} photographs could not be edited"
        elif code:
            self._state, self._line = FAILED, printable("; ".join(told)) or self._keep(output)
        else:
            self._state, self._line = DONE, f"{len(cases)} of {len(cases)} photographs are edited"
        self._tell()

    def _read(self, stream: IO[str], cases: Sequence[str], since: float) -> Iterable[str]:
        """Yield the lines that Snakemake prints, and take the progress from them."""
        for line in stream:
            yield line
            if found := _STEPS.match(line):
                self._done, self._of = int(found[1]), int(found[2])
            elif found := _TOTAL.match(line):
                self._of = int(found[1])
            elif found := _JOB.match(line):
                of = [case for case in cases if found[1].startswith(f"{case}: ")]
                self._case = max(of, key=len, default="")
                work = found[1].removeprefix(f"{self._case}: ")
                named = f"{self._name(self._case)}: {work}" if self._case else work
                self._line, self._detail = printable(named), ""
            elif found := _LOG.search(line):
                self._find_failures([found[1]], since)
            else:
                continue
            self._tell()

    def _watch_training(self, since: float, ended: threading.Event) -> None:
        """Tell the iterations of the training that is running, as its record shows them."""
        while not ended.wait(_POLL_SECONDS):
            if not (case := self._case) or "train" not in self._line:
                continue
            records = read_records(self._results / case / "logs", _END_OF_RECORD)
            running = [r for r in records if r.outcome is None and r.written >= since]
            newest = max(running, key=lambda record: record.written, default=None)
            iteration = None if newest is None else newest.last(Iteration)
            if iteration is not None and self._case == case:
                detail = f" ({iteration.number} of {iteration.last})"
                if detail != self._detail:
                    self._detail = detail
                    self._tell()

    def _find_failures(self, cases: Iterable[str], since: float) -> None:
        for case in cases:
            records = read_records(self._results / case / "logs", _END_OF_RECORD)
            faults = [failure_message(record, since) for record in records]
            if not self._cancelled:
                faults.append(killed_job_message(records, since) if self._ended() else None)
            if reason := next(filter(None, faults), None):
                self._failed[case] = self._by_name(case, reason)

    def _by_name(self, case: str, reason: str) -> str:
        """Name the photograph in a reason, in place of the case and its copy."""
        name = self._name(case)
        copy = rf"data/{re.escape(case)}/image/original_image\.\w+"
        return re.sub(copy, lambda _: name, reason.removeprefix(f"case {case}: "))

    def _name(self, case: str) -> str:
        photograph = self.project.photographs.get(case)
        return case if photograph is None else photograph.name

    def _ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    def _keep(self, output: Sequence[str]) -> str:
        """Keep what Snakemake printed in a file, and return the line that names it."""
        path = self.project.folder / "snakemake.log"
        with suppress(UserError):
            write_text(path, "".join(output))
        return f"the workflow ended with an unexpected error; its messages are in {path}"

    def _tell(self) -> None:
        self.events.publish("run", run=self.state())
