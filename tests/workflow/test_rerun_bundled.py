"""The rerun contract once more, in short, on the model that comes with the project."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from editinfinity.planning.location import weight_files
from tests.workflow.project import Project, draw_mask, take_as_finished, write

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not list(weight_files("bundled")), reason="no bundled weights yet"),
]


CASE = "один"
NAME = "embedding1-lora1-cfg4.5-tau0.5-seed42"


def edited(name: str = NAME) -> set[str]:
    return {f"edit/edit/{name}", "edit/edit/finish"}


LONGER = edited(NAME.replace("lora1", "lora2")) | {"lora/embedding1/iter2"}
ROWS: dict[str, tuple[dict[str, int], set[str]]] = {
    # change → (the case's own settings, what they run again)
    "nothing": ({}, set()),
    "seed": ({"seed": 1}, edited(NAME.replace("seed42", "seed1"))),
    "longer": ({"train_lora_iter": 2}, LONGER),
    "mask": ({}, edited() | {"mask/edit/kernel-linear", "mask/edit/pictures"}),
    "prompt": ({}, edited() | {"edit/edit/text_features"}),
}


def test_the_contract_holds_on_the_bundled_model(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "project")
    weights = Path("editinfinity", "weights")
    (project.folder / weights).symlink_to(Path(__file__).parents[2] / weights)
    project.add_case(CASE, mask=True)

    def configure(**more: Any) -> None:
        once = {"train_textembedding_iter": 1, "train_lora_iter": 1, "checkpoint_every": 1}
        project.configure(**{"model": "bundled", "threads": "auto", **once, **more})

    configure()
    assert len(project.run().jobs) == 12

    for name in ROWS:
        for above in ("data", "results"):
            shutil.copytree(project.folder / above / CASE, project.folder / above / name)
        take_as_finished(project, CASE, name)
    draw_mask(project.folder / "data" / "mask" / "image" / "mask.png", side=30)
    write(project.folder / "data" / "prompt" / "prompt" / "edit_image_prompt.txt", "a red book")
    overrides = {name: settings for name, (settings, _) in ROWS.items()}
    configure(overrides=overrides)
    plan = project.plan()
    assert {name: plan.pending(name) for name in ROWS} == {
        name: jobs for name, (_, jobs) in ROWS.items()
    }
    assert not plan.pending(CASE)

    # What is planned is what runs.
    configure(overrides=overrides, cases=["longer", "nothing", CASE])
    assert project.run().jobs == {f"longer/{job}" for job in LONGER}
