"""A project folder that someone else has made, or that is damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from editinfinity.app.project import Photograph, Project
from editinfinity.errors import UserError


def project_with_case(folder: Path) -> tuple[Path, Photograph]:
    """Make a project with one photograph that has prompts; return its folder and the photograph."""
    photo = folder / "photo.png"
    Image.new("RGB", (32, 24), "tan").save(photo)
    project = Project(folder / "project", {"model": "tiny"})
    added = project.add_file(photo)
    project.set_texts(added, "a tree", "a house", {})
    project.new_try(added, {})
    close(project)
    return project.folder, added


def opened(folder: Path) -> dict[str, Photograph]:
    project = Project(folder, {"model": "tiny"})
    close(project)
    return project.photographs


def close(project: Project) -> None:
    assert project._open is not None
    project._open.release()


@pytest.mark.parametrize(
    "link", ["data/ID/prompt/edit_image_prompt.txt", "data/ID/image/mask.png", "page/ID"]
)
def test_a_case_that_leads_out_of_the_project_is_left_out(tmp_path: Path, link: str) -> None:
    folder, added = project_with_case(tmp_path)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("secret")
    assert list(opened(folder)) == [added.id]
    path = folder / link.replace("ID", added.id)
    if path.exists():
        path.rename(tmp_path / "moved")
    path.symlink_to(outside if link == "page/ID" else outside / "secret.txt")
    assert opened(folder) == {}
    if link == "page/ID":
        project = Project(folder, {"model": "tiny"})
        with pytest.raises(UserError, match="page/.*: leads out of the project folder; delete it"):
            project.add_file(tmp_path / "photo.png")
        assert len(project.open_folder(tmp_path)) == 1 and project.photographs == {}
        close(project)


def test_damaged_files_of_the_page_are_left_out(tmp_path: Path) -> None:
    """What could not be sent to the browser would keep the whole page from loading."""
    folder, added = project_with_case(tmp_path)
    page = folder / "page" / added.id
    (page / "photograph.json").write_text('{"name": "\\ud800", "settings": {"cfg": NaN}}')
    damaged = json.loads((page / "try-0001.json").read_text())
    (page / "try-0002.json").write_text(json.dumps({**damaged, "n": 2, "prompt": "\ud800"}))
    (page / "try-0003.json").write_text(json.dumps({**damaged, "n": 3, "seconds": float("nan")}))
    (read,) = opened(folder).values()
    assert (read.name, read.settings) == (added.id, {})
    assert list(read.tries) == [1]


def test_what_is_seen_of_a_try_that_was_not_saved_is_deleted(tmp_path: Path) -> None:
    folder, added = project_with_case(tmp_path)
    view = folder / "page" / added.id / "try-0001-view.jpg"
    view.write_bytes(b"the app was killed while it saved")
    (read,) = opened(folder).values()
    assert read.tries[1].state == "cancelled" and not view.exists()


def test_files_that_stay_the_same_are_not_written(tmp_path: Path) -> None:
    folder, _ = project_with_case(tmp_path)
    project = Project(folder, {"model": "tiny"})
    (photograph,) = project.photographs.values()

    def written_for(*texts: str, **settings: int) -> set[str]:
        files = [path for path in folder.rglob("*") if path.is_file()]
        before = {path: path.stat().st_ino for path in files}
        project.set_texts(photograph, *texts, settings)
        return {path.name for path in files if path.stat().st_ino != before[path]}

    try:
        assert written_for("a tree", "a house") == set()
        assert written_for("a tree", "a ship") == {"edit_image_prompt.txt"}
        assert written_for("a pine", "a ship") == {"original_image_prompt.txt"}
        assert written_for("a pine", "a ship", seed=3) == {"config.yaml", "photograph.json"}
    finally:
        close(project)
