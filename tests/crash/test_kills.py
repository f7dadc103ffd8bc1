"""Runs killed at random moments: nothing torn, nothing left running, and the same bytes at the end.

A run that goes on without a job or a worker is killed again, until it has ended.

``EDITINFINITY_KILLS=200 pytest tests/crash`` kills more often; what was killed when is printed, and
``EDITINFINITY_KILL_SEED`` repeats it. ``EDITINFINITY_KILL_REPORT=FILE`` keeps a line a kill, and a
test that is started again goes on after those.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from editinfinity.planning.run_marker import MARKER, REPORT_TARGET
from tests.waiting import eventually
from tests.workflow.project import Project

KILLS = int(os.environ.get("EDITINFINITY_KILLS", "30"))
SEED = int(os.environ.get("EDITINFINITY_KILL_SEED", "1"))
REPORT = os.environ.get("EDITINFINITY_KILL_REPORT")
GROUPS = int(os.environ.get("EDITINFINITY_KILL_GROUPS", "2"))
"""Of kills, which may run side by side; a kill does not depend on its group."""

LONGEST = 5.0
"""Seconds after its first job, or after the kill before, until a run is killed, at most."""

SETTINGS = {
    "train_textembedding_iter": 20,
    "train_lora_iter": 40,
    "checkpoint_every": 20,
}

WITHOUT_LORA = {"train_textembedding_iter": 40, "train_lora": 0, "use_lora": 0}
"""Further settings of every second group: a worker that adapts no model starts in half the time,
so most of its kills meet one at work."""

pytestmark = pytest.mark.slow


def make_project(folder: Path, group: int) -> Project:
    project = Project.create(folder, **{**SETTINGS, **(WITHOUT_LORA if group % 2 else {})})
    project.add_case("it's a case", target_word="dog")
    return project


def targets(project: Project) -> dict[str, bytes]:
    """What a run makes, without what it keeps while it makes it."""
    return {
        name: content
        for name, content in project.made().items()
        if not Path(name).name.startswith((".tmp-", MARKER, REPORT_TARGET))
        and "paused" not in Path(name).name
    }


def processes(project: Project) -> dict[int, str]:
    """Processes that work in the project's folder: Snakemake, jobs and workers."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "cwd").resolve() == project.folder.resolve():
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
                found[int(folder.name)] = command.decode(errors="replace")
        except OSError:
            continue
    return found


VICTIMS = {
    # name → (which of the project's processes, signals)
    "snakemake": (lambda word: "-m snakemake" in word, ("KILL", "TERM", "INT")),
    "job": (lambda word: ".snakemake/scripts" in word, ("KILL", "TERM", "INT")),
    "worker": (lambda word: "worker.server" in word, ("KILL", "TERM")),
    # Forks of tests/ready.py hear of it from what stands for them; they would hear twice.
    "everything": (lambda word: "/ready.py" not in word, ("KILL", "TERM", "INT")),
}
"""``everything`` is a power cut, the end of a SLURM job, or Ctrl-C on a terminal."""


def run_and_kill(project: Project, numbers: list[int]) -> list[str]:
    """Run the project, kill something at random moments, and wait until all is quiet.

    Args:
        numbers: of the kills to do as long as the run goes on; the first may come after its end.

    Returns:
        What was done, for the log: a line a kill.
    """
    # What --unlock does, which is tried at the end.
    shutil.rmtree(project.folder / ".snakemake" / "locks", ignore_errors=True)
    done: list[str] = []
    # As on a terminal, all belong to one group; but a group of their own here.
    with (project.folder / "log").open("wb") as log:
        run = subprocess.Popen(
            [sys.executable, "-m", "snakemake", "--cores", "2", "--rerun-incomplete"],
            cwd=project.folder,
            stdout=log,
            stderr=log,
            process_group=0,
        )

        def begun() -> bool:
            return run.poll() is not None or b"Execute" in (project.folder / "log").read_bytes()

        def over() -> bool:
            return run.poll() is not None

        eventually(begun, 60)
        for number in numbers:
            chance = random.Random(f"{SEED}/{number}")
            name = chance.choice(list(VICTIMS))
            chosen, signals = VICTIMS[name]
            signum = signal.Signals[f"SIG{chance.choice(signals)}"]
            delay = chance.uniform(0, LONGEST)
            if eventually(over, delay) and done:
                break  # before its time; it belongs to the next run
            victims = [pid for pid, word in processes(project).items() if chosen(word)]
            for pid in victims:
                with suppress(ProcessLookupError):
                    os.kill(pid, signum)
            done.append(f"{signum.name} to {len(victims)} of {name} after {delay:.2f} s")
            if name in ("snakemake", "everything"):
                break
        # A job or worker that was killed leaves the run going: let it end by itself.
        quiet = eventually(lambda: over() and not processes(project), 300)
        said = (project.folder / "log").read_text(errors="replace")
        assert quiet, (processes(project), said[-3000:])
    return done


def reported() -> set[int]:
    """Numbers of the kills that went well before."""
    if REPORT is None or not Path(REPORT).exists():
        return set()
    return {int(line.split(":")[0]) for line in Path(REPORT).read_text("utf-8").splitlines()}


def report(number: int, line: str) -> None:
    """Print a line about a kill, and keep it where it is asked for."""
    print(f"{number}: {line}")
    if REPORT is not None:
        with Path(REPORT).open("a", encoding="utf-8") as lines:
            lines.write(f"{number}: {line}\n")


@pytest.mark.parametrize("group", range(GROUPS))
def test_killed_runs_leave_nothing_torn_and_end_as_if_nothing_had_happened(
    group: int, tmp_path: Path
) -> None:
    project, finished = make_project(tmp_path / "project", group), 0
    whole = project.copy(tmp_path / "undisturbed")
    whole.run()
    undisturbed = targets(whole)
    before = reported()
    left = [number for number in range(group, KILLS, GROUPS) if number not in before]
    while left:
        began = time.monotonic()
        done = run_and_kill(project, left)
        made = targets(project)
        for name, content in made.items():
            # A contact sheet shows what there is.
            same = content == undisturbed[name] or "contact_sheet" in name
            assert same, f"{name} is torn or wrong after {'; '.join(done)}"
        there = f"{len(made)} of {len(undisturbed)} files there"
        for number, line in zip(left, done, strict=False):
            report(number, f"{line}; {there}, quiet after {time.monotonic() - began:.0f} s")
        del left[: len(done)]
        if made.keys() >= undisturbed.keys():
            finished += 1
            shutil.rmtree(project.folder / "results")
            shutil.rmtree(project.folder / ".snakemake")
    # What README says to do after a crash.
    project.run("--unlock", status=None)
    project.run("--rerun-incomplete")
    assert targets(project) == undisturbed
    print(f"{finished} runs ended in spite of it")
    leftovers = [path for path in project.folder.rglob(".tmp-*") if "results" in path.parts]
    assert not leftovers and not list(project.folder.rglob("*paused*"))
