"""Many cases in one SLURM job: profiles/slurm/allocation.sh."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.slurm.conftest import ClusterProject, wait_for
from tests.workflow.project import BARE


def sbatch(project: ClusterProject, *arguments: str) -> str:
    """The id of the job that runs the project in one allocation."""
    bin_folder = Path(sys.executable).parent
    done = subprocess.run(
        ["sbatch", "--parsable", "--mem=4G", "--output=allocation.log", *arguments],
        cwd=project.folder,
        text=True,
        capture_output=True,
        env={**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_all_cases_run_in_one_allocation_and_one_out_of_time_goes_on_where_it_was(
    tmp_path: Path,
) -> None:
    project = ClusterProject.create(tmp_path / "project", **BARE)
    assert isinstance(project, ClusterProject)
    names = ("one", "two", "it's $HOME")
    for name in names:
        project.add_case(name)
    first = sbatch(project, "profiles/slurm/allocation.sh")
    made = project.folder / "results"
    wait_for(lambda: list(made.glob("*/features/image.safetensors")), "the first features")
    # What SLURM sends two minutes before the end.
    subprocess.run(["scancel", "--batch", "--signal=INT", first], check=True)
    wait_for(lambda: [j for j in project.jobs if j.state == "FAILED"], "the end of the first")
    assert not list((project.folder / ".snakemake" / "locks").glob("*.lock"))

    second = sbatch(project, "profiles/slurm/allocation.sh")
    done = wait_for(
        lambda: [j for j in project.jobs if j.id == second and j.state in ("COMPLETED", "FAILED")],
        "the rest",
        600,
    )
    said = (project.folder / "allocation.log").read_text("utf-8")
    assert done[0].state == "COMPLETED", said
    assert [j.id for j in project.jobs] == [first, second]
    assert all((made / name / "edit.png").is_file() for name in names)
    assert "Provided cores: 1" in said and "gpu=" in said
