"""Disks that are full, or may not be written to: a clear line, and no torn file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.workflow.project import Project

pytestmark = pytest.mark.slow

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


@pytest.mark.parametrize(("size", "worker"), [("200k", "auto"), ("400k", "off")])
def test_a_full_disk_is_told_and_tears_nothing(tmp_path: Path, size: str, worker: str) -> None:
    project = Project.create(tmp_path / "project", worker=worker)
    project.add_case("a", target_word="dog")
    whole = project.copy(tmp_path / "whole")
    run = run_on_a_disk(project, f"size={size}", look="cp -r results kept")
    assert run.returncode == 1
    assert "No space left on device" in run.stderr and "make room" in run.stderr
    assert "Traceback" not in run.stderr and "unexpected" not in run.stderr, run.stderr
    kept = project.folder / "kept"
    assert not list(kept.rglob(".tmp-*"))
    whole.run("--config", "worker=auto")
    files = [path for path in kept.rglob("*") if path.suffix in (".safetensors", ".json", ".png")]
    assert files
    for path in files:
        name = path.relative_to(kept)
        same = path.read_bytes() == (whole.folder / "results" / name).read_bytes()
        assert same or "contact_sheet" in name.name, name
