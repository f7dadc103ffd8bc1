"""The rerun contract once more, in one walk, on the model that comes with the project."""

from __future__ import annotations

from pathlib import Path

import pytest

from editinfinity.workflow.location import weight_files
from tests.workflow.project import Project, draw_mask, write

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not list(weight_files("bundled")), reason="no bundled weights yet"),
]


def test_the_contract_holds_on_the_bundled_model(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "project")
    weights = Path("editinfinity", "weights")
    (project.folder / weights).symlink_to(Path(__file__).parents[2] / weights)
    folder = project.add_case("один", mask=True)

    def settings(**more: object) -> None:
        once = {"train_textembedding_iter": 1, "train_lora_iter": 1, "checkpoint_every": 1}
        project.configure(**{"model": "bundled", "threads": "auto", **once, **more})

    def edited(name: str = "embedding1-lora1-cfg4.5-tau0.5-seed42") -> set[str]:
        return {f"один/edit/edit/{name}", "один/edit/edit/finish"}

    settings()
    first = project.run()
    assert len(first.jobs) == 11
    assert "Nothing to be done" in project.run().stderr

    settings(seed=1)
    assert project.run().jobs == edited("embedding1-lora1-cfg4.5-tau0.5-seed1")

    settings(train_lora_iter=2)
    longer = edited("embedding1-lora2-cfg4.5-tau0.5-seed42")
    assert project.run().jobs == longer | {"один/lora/embedding1/iter2"}

    settings(train_lora_iter=2)
    draw_mask(folder / "image" / "mask.png", side=30)
    assert project.run().jobs == longer | {
        "один/mask/edit/kernel-linear",
        "один/mask/edit/pictures",
    }

    write(folder / "prompt" / "edit_image_prompt.txt", "a red book")
    assert project.run().jobs == longer | {"один/edit/edit/text_features"}
