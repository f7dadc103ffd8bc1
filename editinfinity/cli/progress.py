"""Runs the workflow for the commands ``edit`` and ``batch``: its progress, and errors in a line."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import yaml

from editinfinity.display.terminal import DRAW_ON, terminal_to_draw_on
from editinfinity.environment import workflow_root
from editinfinity.errors import UserError
from editinfinity.files.atomic import write_text
from editinfinity.jobs.record import read_records
from editinfinity.locks import NO_LOCKS, Lock
from editinfinity.results.outcomes import failure_message, killed_job_message, total_seconds
from editinfinity.results.provenance import older_folders

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


_JOB = re.compile(r"Job \d+: (?:.*?: )?(.*)")
_DONE = re.compile(r"(\d+) of (\d+) steps")


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


def run_workflow(project: Path, settings: dict[str, Any], lock: Sequence[int]) -> FinishedRun:
    """Run the workflow in a project folder, and show its progress.

    Args:
        project: folder that contains ``data``; config.yaml and results are written to it.
        settings: content of config.yaml.
        lock: descriptors of ``lock_project``.

    Raises:
        UserError: the workflow could not start.
    """
    for line in older_folders([project / "results" / name for name in settings["cases"]]):
        log.warning("%s", line)
    text = yaml.safe_dump(dict(settings), allow_unicode=True, sort_keys=True)
    write_text(project / "config.yaml", text)
    since = time.time()
    command = [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(workflow_root() / "Snakefile")),
        *("--cores", "1", "--resources", "gpu=1", "--nolock", "--rerun-incomplete"),
    ]
    with (
        _shared_terminal() as (shared, environment),
        subprocess.Popen(
            command, cwd=project, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            encoding="utf-8", errors="replace", pass_fds=(*shared, *lock), env=environment,
        ) as process,
    ):  # fmt: skip
        assert process.stderr is not None
        try:
            other_lines = _report_jobs(process.stderr, None if shared else sys.stderr)
        except BaseException:  # stopped: so is the workflow, which saves what it is training
            process.terminate()
            process.communicate()
            raise
    failed = {
        folder.name: reasons
        for folder in sorted((project / "results").glob("*"))
        if (reasons := _failure_reasons(folder / "logs", since))
    }
    if process.returncode and not failed:
        raise UserError(" ".join(other_lines[-3:]) or "the workflow could not start")
    return FinishedRun(project / "results", since, failed)


def _failure_reasons(logs: Path, since: float) -> list[str]:
    """Return one line for each job of a case that failed or was killed after ``since``."""
    records = read_records(logs)
    found = [failure_message(record, since) for record in records]
    # Else the picture of an earlier run would pass for the result of this one.
    return [reason for reason in (*found, killed_job_message(records, since)) if reason]


@contextmanager
def _shared_terminal() -> Iterator[tuple[tuple[int, ...], dict[str, str]]]:
    """Yield (file descriptors for Snakemake to inherit, its environment variables).

    Snakemake draws its progress on that terminal, if there is one; this process reads its stderr.
    """
    terminal = terminal_to_draw_on()
    if terminal is None:
        yield (), dict(os.environ)
        return
    copy = os.dup(terminal)
    try:
        os.write(copy, b"planning")
        yield (copy,), {**os.environ, DRAW_ON: str(copy)}
        os.write(copy, b"\r\x1b[K")
    finally:
        os.close(copy)


def _report_jobs(lines: IO[str], screen: IO[str] | None) -> list[str]:
    """Write a line per job to ``screen``, if given; return all lines that are not about jobs."""
    done, total = 0, 0
    other_lines: list[str] = []
    for line in lines:
        line = line.strip()
        if found := _DONE.search(line):
            done, total = int(found[1]), int(found[2])
        elif found := re.match(r"total\s+(\d+)", line):
            total = int(found[1])
        elif found := _JOB.match(line):
            if screen is not None:
                screen.write(f"[{done + 1}/{total}] {found[1]}\n")
                screen.flush()
        elif line:
            other_lines.append(line)
    return other_lines
