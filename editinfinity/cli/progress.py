"""The workflow run for somebody who wants a picture: where it is, and faults in a line."""

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
from editinfinity.results.outcomes import failure_message, total_seconds
from editinfinity.results.provenance import older_folders

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ran:
    """A run that is over.

    Attributes:
        results: its folder of results.
        since: when it began (seconds since the epoch).
        failed: case → why it failed; empty if all went well.
    """

    results: Path
    since: float
    failed: dict[str, list[str]]

    def seconds(self, case: str) -> float | None:
        """What the jobs of a case took in this run; None where there were none."""
        return total_seconds(read_records(self.results / case / "logs"), self.since)


_MESSAGE = re.compile(r"Job \d+: (?:.*?: )?(.*)")
_DONE = re.compile(r"(\d+) of (\d+) steps")


@contextmanager
def alone(project: Path) -> Iterator[tuple[int, ...]]:
    """Nobody else writes or runs this project meanwhile.

    Yields:
        Descriptors; whoever is handed them keeps others away too, should this process die.

    Raises:
        UserError: somebody does, or the folder cannot be written to.
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


def run_workflow(project: Path, settings: dict[str, Any], lock: Sequence[int]) -> Ran:
    """Run the workflow in a project folder, showing where it is.

    Args:
        project: holds ``data``; config.yaml and results are written there.
        settings: of config.yaml.
        lock: of ``alone``.

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
        _terminal_for_the_run() as (shared, environment),
        subprocess.Popen(
            command, cwd=project, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            encoding="utf-8", errors="replace", pass_fds=(*shared, *lock), env=environment,
        ) as process,
    ):  # fmt: skip
        assert process.stderr is not None
        said = _follow(process.stderr, None if shared else sys.stderr)
    failed = {
        folder.name: found
        for folder in sorted((project / "results").glob("*"))
        if (found := _reasons(folder / "logs", since))
    }
    if process.returncode and not failed:
        raise UserError(" ".join(said[-3:]) or "the workflow could not start")
    return Ran(project / "results", since, failed)


def _reasons(logs: Path, since: float) -> list[str]:
    """Why jobs of a case failed since a time, a line each."""
    found = (failure_message(record, since) for record in read_records(logs))
    return [reason for reason in found if reason is not None]


@contextmanager
def _terminal_for_the_run() -> Iterator[tuple[tuple[int, ...], dict[str, str]]]:
    """(descriptors to hand to Snakemake, its environment): a terminal, if there is one.

    Snakemake draws there how far it is, while what it says goes to us.
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


def _follow(lines: IO[str], screen: IO[str] | None) -> list[str]:
    """Write a line a job, if there is somewhere to; returns what else was said."""
    done, total = 0, 0
    said: list[str] = []
    for line in lines:
        line = line.strip()
        if found := _DONE.search(line):
            done, total = int(found[1]), int(found[2])
        elif found := re.match(r"total\s+(\d+)", line):
            total = int(found[1])
        elif found := _MESSAGE.match(line):
            if screen is not None:
                screen.write(f"[{done + 1}/{total}] {found[1]}\n")
                screen.flush()
        elif line:
            said.append(line)
    return said
