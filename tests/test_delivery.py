"""What is handed over beside a photograph never takes the place of anything else."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from editinfinity.cli.delivery import deliver, output_path
from editinfinity.errors import UserError
from editinfinity.files.photograph import read_photograph
from editinfinity.files.writing import FORMATS, read_settings, write_photograph
from tests.workflow.project import draw_image

SETTINGS = '{"seed": 1}'


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A result, with settings inside."""
    draw_image(tmp_path / "drawn.png", seed=1)
    write_photograph(tmp_path / "edit.png", read_photograph(tmp_path / "drawn.png"), SETTINGS)
    return tmp_path / "edit.png"


@pytest.mark.parametrize("ending", FORMATS)
def test_pixels_decide_not_settings(picture: Path, ending: str) -> None:
    folder = picture.parent
    photo, target = folder / f"photo{ending}", folder / f"photo_edited{ending}"
    write_photograph(photo, read_photograph(folder / "drawn.png"))
    first = deliver(picture, photo, target, overwrite=False)
    content, written = first.read_bytes(), first.stat().st_mtime_ns
    assert first == target and read_settings(first) == SETTINGS
    assert deliver(picture, photo, target, overwrite=False) == target
    assert target.stat().st_mtime_ns == written

    changed = read_photograph(picture).pixels.copy()
    changed.paste((0, 0, 0), (0, 0, 16, 16))
    changed.save(folder / "changed.png")
    write_photograph(picture, read_photograph(folder / "changed.png"), SETTINGS)
    second = folder / f"photo_edited_2{ending}"
    for _ in range(2):
        assert deliver(picture, photo, target, overwrite=False) == second
    assert target.read_bytes() == content and read_settings(second) == SETTINGS
    assert deliver(picture, photo, target, overwrite=True) == target
    assert target.read_bytes() == second.read_bytes()


def test_what_is_no_picture_is_left_alone(picture: Path) -> None:
    target = picture.with_name("photo_edited.png")
    target.write_bytes(b"")
    picture.with_name("photo_edited_2.png").mkdir()
    Image.new("RGB", (80, 64)).save(picture.with_name("photo_edited_3.png"))
    made = deliver(picture, picture, target, overwrite=False)
    assert made.name == "photo_edited_4.png" and target.read_bytes() == b""


def test_an_output_that_cannot_be_written_is_told_before_the_work(
    picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = picture.parent
    assert output_path(picture, folder / "new" / "folder" / "a.png", None).name == "a.png"
    assert not (folder / "new").exists()
    (folder / "file").write_text("")
    with pytest.raises(UserError, match=r"a\.png: cannot be written \(Not a directory\); choose"):
        output_path(picture, folder / "file" / "a.png", None)
    monkeypatch.setattr("os.access", lambda *_: False)
    for output in (None, folder / "a.png"):
        with pytest.raises(UserError, match=r"cannot be written \(Permission denied\); choose"):
            output_path(picture, output, None)
