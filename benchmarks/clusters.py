"""Overhead of a cluster: wall time of the same cases locally and in three ways on SLURM.

    tests/slurm/with_slurm.sh .venv/bin/python benchmarks/clusters.py --cases 6

Uses the temporary cluster of the tests (three nodes, one fake GPU each, all on this
machine), so the rows differ only in overhead: starts of Snakemake, queueing, polling.
Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.slurm.conftest import PROFILE, ClusterProject, wait_for
from tests.workflow.project import BARE


def locally(project: ClusterProject) -> None:
    snakemake(project, "--cores", "1", "--resources", "gpu=1")


def grouped(project: ClusterProject) -> None:
    snakemake(project, *PROFILE)


def ungrouped(project: ClusterProject) -> None:
    stages = ("image_features", "edit_text_features", "kernel", "edit")
    snakemake(project, *PROFILE, "--groups", *(f"{stage}={stage}" for stage in stages))


def in_one_allocation(project: ClusterProject) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    job = subprocess.run(
        ["sbatch", "--parsable", "--mem=4G", "--output=allocation.log",
         "profiles/slurm/allocation.sh"],
        cwd=project.folder, env={**os.environ, "PATH": path}, text=True, check=True,
        stdout=subprocess.PIPE,
    ).stdout.strip()  # fmt: skip
    wait_for(lambda: {j.state for j in project.jobs if j.id == job} == {"COMPLETED"}, "it", 900)


def snakemake(project: ClusterProject, *arguments: str) -> None:
    command = [sys.executable, "-m", "snakemake", *arguments]
    done = subprocess.run(command, cwd=project.folder, text=True, capture_output=True)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)


WAYS: dict[str, Callable[[ClusterProject], None]] = {
    "local, one GPU": locally,
    "one allocation, one GPU": in_one_allocation,
    "a SLURM job a case, three GPUs": grouped,
    "a SLURM job a stage, three GPUs": ungrouped,
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", 1)[0])
    parser.add_argument("--cases", type=int, default=6)
    count = parser.parse_args().cases
    print("| way | SLURM jobs | wall time, s | a case, s |\n|---|--:|--:|--:|")
    for way, run in WAYS.items():
        with tempfile.TemporaryDirectory() as folder:
            project = ClusterProject.create(Path(folder) / "project", **BARE)
            assert isinstance(project, ClusterProject)
            for number in range(count):
                project.add_case(f"case {number}", mask=True)
            began = time.perf_counter()
            run(project)
            seconds = time.perf_counter() - began
            made = list((project.folder / "results").glob("*/edit.png"))
            assert len(made) == count, way
            print(
                f"| {way} | {len(project.jobs)} | {seconds:.0f} | {seconds / count:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
