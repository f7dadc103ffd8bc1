"""profiles/slurm on a real cluster of three nodes, on a day when much goes wrong.

One run of six cases on three GPUs: one case is broken, one job is cancelled, one node dies.
"""

from __future__ import annotations

import itertools
import re
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.slurm.conftest import ClusterProject, Job, wait_for
from tests.workflow.project import BARE

ODD = "100% *?[b]; & $x `y`"
QUOTED = "it's"
SOUND = ("first", "second", "third", ODD, QUOTED)
BROKEN = "broken"


@dataclass(frozen=True)
class Day:
    """What happened.

    Attributes:
        project: with its results.
        status, said: of Snakemake.
        jobs: all of them, at the end.
        cases: job → case.
        most_running: jobs on GPUs at one time; saw_queue: whether others waited then.
        cancelled, lost: the jobs that were cancelled, and whose node was killed.
    """

    project: ClusterProject
    status: int
    said: str
    jobs: list[Job]
    cases: dict[str, str | None]
    most_running: int
    saw_queue: bool
    cancelled: Job
    lost: Job


def kill_node(node: str) -> None:
    """What a power cut leaves of a node: neither its daemon nor anything that it ran."""
    daemon = subprocess.run(
        ["pgrep", "--full", f"slurmd -N {node}$"], text=True, capture_output=True, check=True
    ).stdout.split()
    steps = steps_on(node)
    # Each step's keeper, its parent, would report the end of the step; it must die before it.
    keepers = [
        parent for pid in steps if name_of(parent := parent_of(pid)).startswith("slurmstepd")
    ]
    subprocess.run(["kill", "-KILL", *dict.fromkeys([*daemon, *keepers, *steps])], check=False)


def steps_on(node: str) -> list[str]:
    """Processes that a node's jobs run."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if f"SLURMD_NODENAME={node}".encode() in environment:
            found.append(folder.name)
    return found


def parent_of(pid: str) -> str:
    return status_of(pid, "PPid")


def name_of(pid: str) -> str:
    return status_of(pid, "Name")


def status_of(pid: str, key: str) -> str:
    """A line of /proc; empty where the process has gone."""
    try:
        text = Path("/proc", pid, "status").read_text("utf-8")
    except OSError:
        return ""
    return re.findall(rf"^{key}:\s+(.*)$", text, re.M)[0]


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Day:
    project = ClusterProject.create(
        tmp_path_factory.mktemp("slurm") / "project",
        **BARE,
        overrides={BROKEN: {"use_concat_embedding": 1, "use_embedding_iter": 2}},
    )
    assert isinstance(project, ClusterProject)
    for name in (*SOUND, BROKEN):
        project.add_case(name, mask=True)
    damaged = project.folder / "results" / BROKEN / "text_embedding" / "iter2.safetensors"
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"\x08\0\0\0\0\0\0\0garbage!")
    most_running, saw_queue = 0, False
    with (project.folder / "run.log").open("w") as log:
        run = project.start(log)

        def sound(state: str) -> list[Job]:
            """Not the damaged case's job, which has a fate of its own."""
            return [j for j in project.jobs if j.state == state and project.case_of(j) in SOUND]

        running = wait_for(lambda: sound("RUNNING"), "running jobs")
        wait_for(lambda: len(project.jobs) >= 5, "a queue")
        lost, cancelled = (*running, *sound("PENDING"))[:2]
        subprocess.run(["scancel", cancelled.id], check=True)
        kill_node(lost.node)

        def over() -> bool:
            nonlocal most_running, saw_queue
            states = [job.state for job in project.jobs]
            most_running = max(most_running, states.count("RUNNING"))
            saw_queue |= "PENDING" in states and states.count("RUNNING") >= 2
            return run.poll() is not None

        wait_for(over, "the end of the run", 900)
    said = (project.folder / "run.log").read_text("utf-8")
    jobs = project.jobs
    cases = {job.id: project.case_of(job) for job in jobs}
    return Day(project, run.returncode, said, jobs, cases, most_running, saw_queue, cancelled, lost)


def states_of(day: Day, case: str) -> list[str]:
    return [job.state for job in day.jobs if day.cases[job.id] == case]


def test_every_sound_case_is_edited(day: Day) -> None:
    for name in SOUND:
        assert (day.project.folder / "results" / name / "edit.png").is_file(), day.said
        assert re.search(rf"^{re.escape(name)} +edit +edited", day.said, re.M), day.said
    assert day.status == 1
    assert "5 of 6 edits without an error" in day.said


def test_a_case_is_one_job_with_one_gpu(day: Day) -> None:
    undisturbed = [
        name for name in SOUND if name not in (day.cases[day.lost.id], day.cases[day.cancelled.id])
    ]
    assert len(undisturbed) == len(SOUND) - 2
    for name in undisturbed:
        assert states_of(day, name) == ["COMPLETED"]
    told = subprocess.run(
        ["scontrol", "show", "job", day.jobs[-1].id], text=True, capture_output=True, check=True
    ).stdout
    assert re.search(r"TresPerJob=\S*gpu:1\b", told), told


def test_jobs_queue_for_gpus_and_never_share_one(day: Day) -> None:
    assert day.saw_queue
    assert day.most_running <= 3
    # One GPU a node, so no two jobs may be on a node at one time.
    for node in {job.node for job in day.jobs if job.node}:
        here = sorted((job.start, job.end) for job in day.jobs if job.node == node)
        for (_, end), (start, _) in itertools.pairwise(here):
            assert end <= start, (node, here)


def test_a_failing_case_is_tried_again_and_told(day: Day) -> None:
    assert states_of(day, BROKEN) == ["FAILED", "FAILED"]
    row = re.search(rf"^{BROKEN} +edit +failed +(.*)", day.said, re.M)
    assert row and "text_embedding/iter2.safetensors: is damaged" in row[1], day.said
    assert "delete it and run again" in row[1]


def test_a_cancelled_job_is_submitted_again(day: Day) -> None:
    case = day.cases[day.cancelled.id]
    assert case is not None
    assert states_of(day, case) == ["CANCELLED", "COMPLETED"]


def test_a_lost_nodes_job_runs_elsewhere(day: Day) -> None:
    case = day.cases[day.lost.id]
    first, second = (job for job in day.jobs if day.cases[job.id] == case)
    assert first.id == day.lost.id
    assert (first.state, second.state) == ("NODE_FAIL", "COMPLETED")
    assert second.node != day.lost.node


def test_names_that_a_shell_would_read_are_passed_over(day: Day) -> None:
    project = ClusterProject(day.project.folder)
    project.add_case("it's $(touch pwned)")
    status, said = project.submit("-n")
    assert status == 0
    assert said.count("it's $(touch pwned): skipped, names in cluster jobs cannot contain '") == 1


def test_a_killed_run_is_not_run_twice(tmp_path: Path) -> None:
    """Snakemake dies, its jobs do not; what they make is kept, and nothing is made again."""
    project = ClusterProject.create(tmp_path / "project", **BARE)
    assert isinstance(project, ClusterProject)
    for name in ("one", "two"):
        project.add_case(name, mask=True)
    with (project.folder / "killed.log").open("w") as log:
        run = project.start(log)
        wait_for(lambda: any(job.state == "RUNNING" for job in project.jobs), "a running job")
        wait_for(lambda: len(project.jobs) == 2, "both jobs")
        run.send_signal(signal.SIGKILL)
        run.wait()
    status, said = project.submit("--unlock")
    assert status == 0, said
    status, said = project.submit("--rerun-incomplete")
    ids = [job.id for job in project.jobs]
    assert status == 1
    assert f"SLURM: jobs {' '.join(ids)} of an earlier run in this folder are still active" in said
    assert f"scancel {' '.join(ids)}" in said
    assert "Traceback" not in said
    assert [job.id for job in project.jobs] == ids

    wait_for(lambda: all(job.state == "COMPLETED" for job in project.jobs), "the orphans' end")
    pictures = sorted((project.folder / "results").glob("*/edit/edit/*.png"))
    made = {path: path.stat().st_mtime_ns for path in pictures}
    assert len(made) == 2
    status, said = project.submit("--rerun-incomplete")
    assert status == 0, said
    assert [job.id for job in project.jobs] == ids
    assert {path: path.stat().st_mtime_ns for path in pictures} == made
    assert all(
        (project.folder / "results" / name / "edit.png").is_file() for name in ("one", "two")
    )
