"""A batch of twenty cases, ten of them bad, through the real workflow: the other ten finish."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from tests.bad_input.corpus import Accepted, Bad, require_clear
from tests.bad_input.pictures import IMAGES, MASKS
from tests.bad_input.texts import PROMPTS
from tests.workflow.project import BARE, Project

CHOSEN = (
    "a truncated JPEG",
    "a decompression bomb",
    "an oversize file",
    "1 × 1",
    "a pipe for a photograph",
    "a mask of another shape",
    "a truncated mask",
    "Latin-1",
    "a prompt of five thousand words",
)
DAMAGED = "a damaged checkpoint"
GOOD = tuple(f"good {number}" for number in range(10))


def chosen() -> list[Bad]:
    by_name = {bad.name: bad for bad in (*IMAGES, *MASKS, *PROMPTS)}
    found = [by_name[name] for name in CHOSEN]
    assert all(bad.accepted is Accepted.LINE for bad in found)
    return found


@pytest.mark.slow
def test_ten_bad_of_twenty(tmp_path: Path) -> None:
    project = Project.create(
        tmp_path / "project",
        **BARE,
        overrides={DAMAGED: {"use_concat_embedding": 1, "use_embedding_iter": 2}},
    )
    for name in (*GOOD, DAMAGED, "two\nlines"):  # Snakemake cannot carry the last one's name
        project.add_case(name)
    for bad in chosen():
        bad.spoil(project.add_case(bad.name, mask=True))
    checkpoint = project.folder / "results" / DAMAGED / "text_embedding" / "iter2.safetensors"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"not tensors")

    run = project.run("--resources", "gpu=2", status=1)

    for name in GOOD:
        picture = project.folder / "results" / name / "edit.png"
        assert Image.open(picture).size == (80, 64)
    rows = dict(re.findall(r"^(\S.*?) +edit +(failed|edited|not made) ", run.stdout, re.M))
    assert rows == {
        **dict.fromkeys(GOOD, "edited"),
        **dict.fromkeys((*CHOSEN, DAMAGED), "failed"),
    }
    assert "10 of 20 edits without an error" in run.stdout
    assert "skipped, " in run.stdout.partition("10 of 20 edits")[2]
    reasons = dict(re.findall(r"^(\S.*?) +edit +failed +(.*)$", run.stdout, re.M))
    for bad in chosen():
        require_clear(reasons[bad.name], bad.blamed)
    require_clear(reasons[DAMAGED], "iter2.safetensors")
    assert "Traceback" not in run.stdout + run.stderr
    # No model was loaded for what a look at the files could tell.
    for name in CHOSEN:
        assert [job for job in run.jobs if job.startswith(f"{name}/")] == []
        assert not (project.folder / "results" / name / "features").exists()
    assert json.loads((project.folder / "results" / GOOD[0] / "check.json").read_text("utf-8"))
