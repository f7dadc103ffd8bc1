"""A project beside a real SLURM; see with_slurm.sh. ``make test-slurm`` runs these tests."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

import pytest

from tests.workflow.project import Project

T = TypeVar("T")

INSIDE = "EDITINFINITY_TEST_CLUSTER"
HERE = Path(__file__).parent

PROFILE = (
    "--workflow-profile",
    "profiles/slurm",
    # The profile's own are for clusters that are far away and busy.
    "--slurm-init-seconds-before-status-checks=2",
    "--latency-wait=10",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a cluster where there is none."""
    if INSIDE in os.environ:
        return
    outside = pytest.mark.skip(reason="needs a SLURM cluster: make test-slurm starts one")
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(outside)


@dataclass(frozen=True)
class Job:
    """A line of squeue; times in SLURM's own format, which sorts as text."""

    id: str
    state: str
    node: str
    start: str
    end: str
    work_dir: str
    name: str


def squeue() -> list[Job]:
    """Every job the cluster has seen, in the order of submission."""
    done = subprocess.run(
        ["squeue", "-h", "--states=all", "--sort=i", "--format=%i|%T|%N|%S|%e|%Z|%j"],
        text=True,
        capture_output=True,
        check=True,
    )
    return [Job(*line.split("|", 6)) for line in done.stdout.splitlines()]


def wait_for(look: Callable[[], T], what: str, seconds: float = 300) -> T:
    """The first answer that is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.2)
    raise AssertionError(f"waited {seconds} s for {what}: {squeue()}")


class ClusterProject(Project):
    """A project that submits to the cluster."""

    @property
    def jobs(self) -> list[Job]:
        """The jobs submitted from here."""
        return [job for job in squeue() if job.work_dir == str(self.folder)]

    def case_of(self, job: Job) -> str | None:
        """The case that a job works on, from the command in its script."""
        done = subprocess.run(
            ["scontrol", "write", "batch_script", job.id, "-"], text=True, capture_output=True
        )
        _, found, rest = done.stdout.partition("edit_text_features:case=")
        return rest.partition(",")[0] if found else None

    def start(self, log: IO[str], *arguments: str) -> subprocess.Popen[str]:
        """Snakemake with the profile, in a process of its own."""
        command = [sys.executable, "-m", "snakemake", *PROFILE, *arguments]
        return subprocess.Popen(command, cwd=self.folder, text=True, stdout=log, stderr=log)

    def submit(self, *arguments: str, seconds: float = 600) -> tuple[int, str]:
        """(status, output) of a run with the profile."""
        with (self.folder / "run.log").open("w+") as log:
            status = self.start(log, *arguments).wait(timeout=seconds)
            log.seek(0)
            return status, log.read()


@pytest.fixture(autouse=True, scope="module")
def jobs_need_not_import(process_with_libraries: dict[str, str]) -> Iterator[None]:
    """Neither here nor on the nodes: jobs have the environment of what submits them."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in process_with_libraries.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(autouse=True, scope="module")
def no_job_left() -> Iterator[None]:
    """Leave no job behind for the next module."""
    yield
    subprocess.run(["scancel", "--user=root"], check=False)
