"""What the examination sees of a real cluster."""

from __future__ import annotations

import subprocess
from pathlib import Path

from editinfinity.doctor import Severity, slurm


def test_partitions_gpus_and_nodes_that_are_down(tmp_path: Path) -> None:
    (seen,) = slurm.check_slurm(tmp_path)
    assert seen.severity is Severity.OK
    # A node that an earlier test killed stays down.
    assert seen.text in [f"partition main: {up} of 3 nodes up, 3 GPUs" for up in (2, 3)]
    for state in ("drain", "resume"):
        subprocess.run(
            ["scontrol", "update", "NodeName=ALL", f"State={state}", "Reason=test"], check=True
        )
        if state == "drain":
            (seen,) = slurm.check_slurm(tmp_path)
            assert seen.severity is Severity.NOTE
            assert "0 of 3 nodes up" in seen.text


def test_jobs_that_an_earlier_run_left(tmp_path: Path) -> None:
    name = "12345678-1234-1234-1234-123456789abc"
    done = subprocess.run(
        ["sbatch", "--parsable", f"--job-name={name}", "--gpus=1", "--wrap=sleep 60"],
        cwd=tmp_path, text=True, capture_output=True, check=True,
    )  # fmt: skip
    job = done.stdout.strip()
    told = [finding for finding in slurm.check_slurm(tmp_path) if finding.subject == "jobs"]
    expected = f"{job} of an earlier run here have not ended; wait, or scancel {job}"
    assert told[0].text == expected
    assert not [f for f in slurm.check_slurm(tmp_path.parent) if f.subject == "jobs"]
    subprocess.run(["scancel", job], check=True)
