"""The commands of the documentation that need a cluster, on the one of ``make test-slurm``."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.docs.pages import PAGES, blocks_of
from tests.docs.scratch import Scratch
from tests.slurm.conftest import squeue, wait_for

ON_CLUSTERS = [
    page for page in PAGES if any(block.condition == "slurm" for block in blocks_of(page))
]
BRIEF = {"train_textembedding_iter": 1, "train_lora_iter": 1, "checkpoint_every": 1}
"""Settings of the reader's, so that three cases take a minute."""

OVER = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY")


@pytest.fixture
def partition() -> Iterator[None]:
    """The one that pages ask for."""
    subprocess.run(["scontrol", "create", "PartitionName=gpu", "Nodes=ALL"], check=True)
    yield
    subprocess.run(["scontrol", "delete", "PartitionName=gpu"], check=True)


@pytest.mark.slow
@pytest.mark.usefixtures("partition")
@pytest.mark.parametrize("page", ON_CLUSTERS, ids=lambda page: page.stem)
def test_a_page_does_what_it_says(page: Path, tmp_path: Path) -> None:
    scratch = Scratch(tmp_path)
    folder = scratch.folder
    (folder / "data").rename(folder / "others")
    for name in ("one", "two", "three"):
        shutil.copytree(folder / "others" / "example_2", folder / "data" / name)
    (folder / "config.yaml").write_text(yaml.safe_dump({**BRIEF, "device": "cpu"}))
    _ask_soon(folder / "profiles" / "slurm" / "config.yaml")
    for block in blocks_of(page):
        if block.condition == "slurm":
            scratch.follow(block, until=lambda: _wait_for_jobs_of(folder))


def _ask_soon(profile: Path) -> None:
    """Have Snakemake look for the first time after 2 seconds: jobs take seconds here."""
    text = profile.read_text("utf-8")
    usual = "\nslurm-init-seconds-before-status-checks: 20\n"
    assert usual in text
    profile.write_text(text.replace(usual, usual.replace("20", "2")), "utf-8")


def _wait_for_jobs_of(folder: Path) -> None:
    """A command may submit and not wait; what it makes is there when its jobs are over."""
    wait_for(
        lambda: all(job.state in OVER for job in squeue() if job.work_dir == str(folder)),
        "jobs of the documentation",
    )
