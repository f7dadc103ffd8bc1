"""Runs the workflow for the commands ``edit`` and ``batch``: its progress, and errors in a line."""

from __future__ import annotations

import errno
import logging
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import yaml

from editinfinity.cli.streams import is_quiet
from editinfinity.cli.warm import KeepWarm, WarmProcessKilledError, WarmRun, run_warm
from editinfinity.display.terminal import DRAW_ON, terminal_to_draw_on
from editinfinity.environment import ERROR_FILE, available_cores, workflow_root
from editinfinity.errors import UserError
from editinfinity.files.atomic import write_text
from editinfinity.jobs.record import read_records
from editinfinity.locks import NO_LOCKS, Lock
from editinfinity.names import printable
from editinfinity.planning.user_environment import without_snakemake_variables
from editinfinity.results.outcomes import failure_message, killed_job_message, total_seconds
from editinfinity.results.provenance import older_folders
from editinfinity.settings.groups import PATH, SETTINGS
from editinfinity.settings.types import FilePath, InvalidValue

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FinishedRun:
    """The result of a run of the workflow.

    Attributes:
        results: its results folder.
        since: its start time (seconds since the epoch).
        failed: case → reasons why it failed; empty if no case failed.
    """

    results: Path
    since: float
    failed: dict[str, list[str]]

    def seconds(self, case: str) -> float | None:
        """Return the total time of a case's jobs in this run; None if it had none."""
        return total_seconds(read_records(self.results / case / "logs"), self.since)


@dataclass(frozen=True)
class Photographs:
    """The photographs of a run of several.

    Attributes:
        names: case → name of its photograph, which is shown before each of its jobs.
        on_made: called with a case as soon as its picture is made, while the others go on.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    on_made: Callable[[str], object] = lambda case: None


_JOB = re.compile(r"Job (\d+): (?:(.*): )?(.*)")  # names of cases may contain colons
_MADE = re.compile(r"Finished jobid: (\d+) \(Rule: finish\)")
_TOTAL = re.compile(r"(?:\d+ of (?=\d+ steps)|total\s+)(\d+)")

_MAX_JOBS = 4
"""Maximum number of jobs at a time. More would find nothing to do beside one model."""

_NO_JOB = 1
"""Steps that Snakemake counts but that are no job: the rule ``all``."""


@contextmanager
def lock_project(project: Path) -> Iterator[tuple[int, ...]]:
    """Lock a project folder, so that no other process runs it at the same time.

    Yields:
        Descriptors of the lock, for child processes to hold it if this one dies; may be empty.

    Raises:
        UserError: another process has the lock, or the folder cannot be written to.
    """
    lock = None
    try:
        project.mkdir(parents=True, exist_ok=True)
        if (lock := Lock.take(project / ".running")) is None:
            raise UserError(f"{project}: another edit of this is running; wait for it to end")
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise UserError(
                f"--work: {project} cannot be written to ({error.strerror}); choose another folder"
            ) from None
        log.warning("%s: cannot be locked: %s", project, error.strerror)
    if lock is None:
        yield ()
        return
    with lock:
        yield (lock.handle,)


def run_workflow(
    project: Path,
    settings: dict[str, Any],
    lock: Sequence[int],
    keep: KeepWarm | None = None,
    photographs: Photographs = Photographs(),
) -> FinishedRun:
    """Run the workflow in a project folder, and show its progress unless ``--quiet`` was given.

    The user's own settings of Snakemake (profiles, ``SNAKEMAKE_…``) have no effect on it.

    Args:
        project: folder that contains ``data``; config.yaml and results are written to it.
        settings: content of config.yaml, with paths as seen from the current folder.
        lock: descriptors of ``lock_project``.
        keep: how long to keep what the run has loaded; None for a run in a process of its own.
        photographs: names of the photographs, and what to do as soon as the picture of one is made.

    Raises:
        UserError: the workflow could not start.
    """
    for line in older_folders([project / "results" / name for name in settings["cases"]]):
        log.warning("%s", line)
    since = time.time()
    try:
        return _run_workflow(project, settings, lock, keep, photographs)
    except WarmProcessKilledError:
        log.warning("--keep-warm: the process that is kept was killed; the edit goes on without it")
        # It uses all that was made, and the seconds of these jobs count too.
        run = _run_workflow(project, settings, lock, None, photographs)
        return replace(run, since=since)


def _run_workflow(
    project: Path,
    settings: dict[str, Any],
    lock: Sequence[int],
    keep: KeepWarm | None,
    photographs: Photographs,
) -> FinishedRun:
    """As ``run_workflow``.

    Raises:
        WarmProcessKilledError: see ``WarmRun.wait``; its run has ended.
    """
    content = _with_paths_from(project, settings)
    text = yaml.safe_dump(content, allow_unicode=True, sort_keys=True)
    write_text(project / "config.yaml", text)
    since = time.time()
    root = workflow_root()
    # While a model computes, the next jobs start. Models run one at a time, on all cores.
    cores = min(_MAX_JOBS, available_cores())
    command = [
        *("--snakefile", str(root / "Snakefile")),
        *("--workflow-profile", str(root / "profiles" / "default")),
        *("--cores", str(cores), "--resources", "gpu=1", "--nolock", "--rerun-incomplete"),
    ]
    with (
        _shared_terminal() as (shared, drawing),
        tempfile.NamedTemporaryFile(prefix="editinfinity-") as errors,
        _start(
            command,
            project,
            {
                **without_snakemake_variables(os.environ),
                **drawing,
                ERROR_FILE: errors.name,
                "PYTHONIOENCODING": "utf-8:backslashreplace",  # names may be no UTF-8
            },
            (*shared, *lock),
            keep,
        ) as process,
    ):
        assert process.stderr is not None
        try:
            hidden = shared or is_quiet()
            screen = None if hidden else sys.stderr
            output = _report_jobs(process.stderr, screen, photographs)
        except BaseException:  # stopped: so is the workflow, which saves what it is training
            _stop(process)
            process.communicate()
            raise
        process.wait()
        told = errors.read().decode("utf-8", "replace").splitlines()
    failed = {
        folder.name: reasons
        for folder in sorted((project / "results").glob("*"))
        if (reasons := _failure_reasons(folder / "logs", since))
    }
    if process.returncode and not failed:
        if told:
            text = "; ".join(line.removeprefix("config.yaml: ") for line in told)
            for key in _PATHS & settings.keys():
                if content[key] is not None:
                    text = text.replace(str(content[key]), str(settings[key]))
            raise UserError(text)
        raise _unexpected_end(project, output)
    return FinishedRun(project / "results", since, failed)


def _start(
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    descriptors: Sequence[int],
    keep: KeepWarm | None,
) -> subprocess.Popen[str] | WarmRun:
    """Start Snakemake, in a warm process if one is to be kept."""
    if keep is not None:
        warm = run_warm(keep, command, folder, environment, descriptors)
        if warm is not None:
            return warm
    return subprocess.Popen(
        [sys.executable, "-m", "snakemake", *command], cwd=folder, text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, encoding="utf-8", errors="replace",
        pass_fds=tuple(descriptors), env=environment,
    )  # fmt: skip


def _stop(process: subprocess.Popen[str] | WarmRun) -> None:
    """Stop Snakemake and its jobs, as Ctrl-C at a terminal does.

    Snakemake alone would wait for its jobs, also for the one that waits until the model is free.
    """
    import psutil

    process.terminate()
    if isinstance(process, subprocess.Popen):
        with suppress(psutil.Error):
            for job in psutil.Process(process.pid).children():
                with suppress(psutil.Error):
                    job.terminate()


_PATHS = frozenset(key for key, setting in SETTINGS.items() if isinstance(setting.type, FilePath))
"""Settings that are the path of a file or folder."""


def _with_paths_from(project: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings whose relative paths are seen from ``project``, not the current folder."""
    content = dict(settings)
    for key, value in settings.items():
        if key in _PATHS and isinstance(value, str) and value != "null":
            path = os.path.abspath(os.path.expanduser(value))  # noqa: PTH100, PTH111
            try:
                PATH.parse(path)
            except InvalidValue:  # Snakemake cannot handle the name of the current folder
                path = os.path.relpath(os.path.realpath(path), os.path.realpath(project))
            content[key] = path
    return content


_SPACE_ERRORS = tuple(map(os.strerror, (errno.ENOSPC, errno.EDQUOT, errno.EROFS)))


def _unexpected_end(project: Path, output: Sequence[str]) -> UserError:
    """Return the error for a Snakemake that failed by itself; its output is kept in a file."""
    for reason in _SPACE_ERRORS:
        if any(reason in line for line in output):
            return UserError(
                f"--work: {project} cannot be written to ({reason}); choose another folder or "
                "make room"
            )
    file = project / "snakemake.log"
    with suppress(UserError):
        write_text(file, "".join(f"{line}\n" for line in output))
    return UserError(
        f"the workflow ended with an unexpected error; its messages are in {file}; check the "
        "machine with: editinfinity doctor"
    )


def _failure_reasons(logs: Path, since: float) -> list[str]:
    """Return one line for each job of a case that failed or was killed after ``since``."""
    records = read_records(logs)
    found = [failure_message(record, since) for record in records]
    # Else the picture of an earlier run would pass for the result of this one.
    return [reason for reason in (*found, killed_job_message(records, since)) if reason]


@contextmanager
def _shared_terminal() -> Iterator[tuple[tuple[int, ...], dict[str, str]]]:
    """Yield (file descriptors for Snakemake to inherit, environment variables for it).

    Snakemake draws its progress on that terminal, if there is one; this process reads its stderr.
    """
    terminal = None if is_quiet() else terminal_to_draw_on()
    if terminal is None:
        yield (), {}
        return
    copy = os.dup(terminal)
    try:
        os.write(copy, b"planning")
        yield (copy,), {DRAW_ON: str(copy)}
    finally:
        with suppress(OSError):  # else it would hide why the run was left
            os.write(copy, b"\r\x1b[K")
        os.close(copy)


def _report_jobs(lines: IO[str], screen: IO[str] | None, photographs: Photographs) -> list[str]:
    """Write a line per job to ``screen``, if given; tell which pictures are made.

    Returns:
        All lines.
    """
    total = 0
    output: list[str] = []
    cases: dict[str, str] = {}  # by job that has started
    for line in lines:
        output.append(line.rstrip())
        line = line.strip()
        if found := _TOTAL.match(line):
            total = int(found[1]) - _NO_JOB
        elif found := _MADE.search(line):
            if (case := cases.get(found[1], "")) in photographs.names:
                photographs.on_made(case)
        elif found := _JOB.match(line):
            job, case, text = found[1], found[2] or "", found[3]
            cases[job] = case
            if screen is not None:
                name = f"{photographs.names[case]}: " if case in photographs.names else ""
                screen.write(f"[{len(cases)}/{total}] {printable(name + text)}\n")
                screen.flush()
    return output
