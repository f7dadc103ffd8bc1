"""Planning by number of cases: time and memory of a dry run, and time to the first job.

    python benchmarks/scheduling.py 100 500 1500 --sliced 5000

Each number of cases is planned as a whole; after --sliced, only the first slice of 100 is. The
cases alternate between the three kinds of the original guide, 11 to 16 jobs each. Prints a table in
Markdown; memory is the maximum resident size of Snakemake.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.workflow.project import Project

SLICE = 100


@dataclass(frozen=True)
class Measurement:
    """One row of the table."""

    cases: int
    way: str
    jobs: int
    seconds: float
    mebibytes: float
    first_job: float


def lay_out(project: Project, count: int) -> None:
    """Create ``count`` cases: hard-linked copies of three cases."""
    kinds = [{}, {"mask": True}, {"target_word": "dog"}]
    for kind, options in enumerate(kinds):
        project.add_case(f"case {kind:05d}", **options)  # type: ignore[arg-type]
    data = project.folder / "data"
    for number in range(len(kinds), count):
        original = data / f"case {number % len(kinds):05d}"
        shutil.copytree(original, data / f"case {number:05d}", copy_function=os.link)


def measured(project: Project, *arguments: str) -> tuple[float, float, int]:
    """Return (seconds, MiB, jobs) of a dry run."""
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--quiet", "rules", "-n"]
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as output:
        run = subprocess.Popen(
            [*command, *arguments], cwd=project.folder, stdout=output, stderr=output
        )
        _, status, usage = os.wait4(run.pid, 0)
        seconds = time.perf_counter() - started
        output.seek(0)
        log_text = output.read()
    if status:
        raise SystemExit(log_text)
    total = re.search(r"^total +(\d+)", log_text, re.M)
    return seconds, usage.ru_maxrss / 1024, int(total[1]) if total else 0


def first_job(project: Project, *arguments: str) -> float:
    """Return the seconds until the first job has ended; then stop the run."""
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]
    started = time.perf_counter()
    with subprocess.Popen(
        command,
        cwd=project.folder,
        text=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as run:
        assert run.stderr is not None
        for line in run.stderr:
            if line.startswith("Finished jobid"):
                break
        seconds = time.perf_counter() - started
        os.killpg(run.pid, signal.SIGKILL)
    shutil.rmtree(project.folder / ".snakemake", ignore_errors=True)
    shutil.rmtree(project.folder / "results", ignore_errors=True)
    return seconds


def measure(count: int, in_slices: bool) -> Measurement:
    """Measure a row for ``count`` cases."""
    with tempfile.TemporaryDirectory() as folder:
        project = Project.create(Path(folder) / "project", train_lora_iter=2)
        lay_out(project, count)
        slices = -(-count // SLICE)
        arguments = ["--config", f"slice=1/{slices}"] if in_slices else []
        way = f"1 of {slices} slices" if in_slices else "whole"
        seconds, mebibytes, jobs = measured(project, *arguments)
        return Measurement(count, way, jobs, seconds, mebibytes, first_job(project, *arguments))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", 1)[0])
    parser.add_argument("whole", type=int, nargs="*", default=[100, 500])
    parser.add_argument("--sliced", type=int, nargs="*", default=[])
    options = parser.parse_args()
    print("| cases | planned | jobs | `-n`, s | memory, MiB | first job done after, s |")
    print("|--:|---|--:|--:|--:|--:|")
    for count, in_slices in [
        *((n, False) for n in options.whole),
        *((n, True) for n in options.sliced),
    ]:
        row = measure(count, in_slices)
        print(
            f"| {row.cases:,} | {row.way} | {row.jobs:,} | {row.seconds:.1f} | {row.mebibytes:.0f} "
            f"| {row.first_job:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
