"""Disks that are full, or may not be written to: a clear line, and no torn file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.workflow.project import Project

pytestmark = [pytest.mark.slow, pytest.mark.imports_itself]

EARLY_AND_LATE = "200k", "400k"
"""Disks that are full sooner and later, of the 0.4 MB that a run makes."""

SNAKEMAKE = f"'{sys.executable}' -m snakemake --cores 2"


def run_on_a_disk(
    project: Project, options: str, *, look: str = "true"
) -> subprocess.CompletedProcess[str]:
    """Run with ``results`` on a disk of its own; ``look`` is what to do before that goes."""
    (project.folder / "results").mkdir()
    script = (
        f"mount -t tmpfs -o {options} tmpfs results && {{ {SNAKEMAKE}; s=$?; {look}; exit $s; }}"
    )
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script]
    run = subprocess.run(command, cwd=project.folder, text=True, capture_output=True, check=False)
    if "mount:" in run.stderr or "unshare:" in run.stderr:
        pytest.skip("a disk cannot be made here")
    return run


def test_results_that_cannot_be_written_stop_the_run_in_a_line(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "project")
    project.add_case("a")
    run = run_on_a_disk(project, "ro,size=1M")
    assert run.returncode == 1
    said = run.stderr.splitlines()
    assert said[-1].startswith("results: results cannot be written to (Read-only file system); ")
    assert "Traceback" not in run.stderr


def test_a_full_disk_is_told_and_tears_nothing(
    tmp_path: Path, process_with_libraries: dict[str, str]
) -> None:
    """Early, in jobs that have no worker, and late, in a worker's."""
    project = Project.create(tmp_path / "project", train_lora=0, use_lora=0)
    project.add_case("a", target_word="dog")
    disks = {f"size={size}": project.copy(tmp_path / size) for size in EARLY_AND_LATE}
    project.run(env=process_with_libraries)  # with room enough, and so on no disk of its own
    for (options, disk), worker in zip(disks.items(), ("off", "auto"), strict=True):
        disk.configure(train_lora=0, use_lora=0, worker=worker)
        run = run_on_a_disk(disk, options, look="cp -r results kept")
        assert run.returncode == 1, run.stderr
        assert "No space left on device" in run.stderr and "make room" in run.stderr
        assert "Traceback" not in run.stderr and "unexpected" not in run.stderr, run.stderr
        kept = disk.folder / "kept"
        assert not list(kept.rglob(".tmp-*"))
        files = [p for p in kept.rglob("*") if p.suffix in (".safetensors", ".json", ".png")]
        assert files
        for path in files:
            name = path.relative_to(kept)
            same = path.read_bytes() == (project.folder / "results" / name).read_bytes()
            assert same or "contact_sheet" in name.name, name
