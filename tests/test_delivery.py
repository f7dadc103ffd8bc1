"""What is handed over beside a photograph never takes the place of anything else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from editinfinity.cli.delivery import (
    deliver,
    deliver_draft,
    output_path,
    printable_path,
    require_output_folder,
    result_path,
    with_user_paths,
)
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


def test_no_first_picture_stays_beside_the_refined_one(picture: Path) -> None:
    photo, target = picture.parent / "photo.png", picture.parent / "photo_edited.png"
    write_photograph(photo, read_photograph(picture.parent / "drawn.png"))
    target.write_bytes(b"another file, deleted while the model is trained")
    draft = deliver_draft(picture, photo, target, overwrite=False)
    assert draft.name == "photo_edited_2.png"
    target.unlink()
    assert deliver(picture, photo, target, overwrite=False, draft=draft) == target
    assert target.exists() and not draft.exists()


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


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("folder", "is a folder; name a file, e.g. folder/photo_edited.jpg"),
        ("x.tga", "unknown format; choose one of .png"),
        ("x", "unknown format; choose one of .png"),
        (f"{'l' * 252}.png", "has a name of more than 255 bytes; shorten it"),
        (f"{'é' * 126}.png", "has a name of more than 255 bytes; shorten it"),
        ("deep/" * 900 + "x.png", "cannot be written (File name too long); choose another folder"),
        ("photo.jpg/x.png", "cannot be written (photo.jpg is not a folder); choose another folder"),
        ("/proc/x.png", "cannot be written (No such file or directory); choose another folder"),
        ("pipe.png", "is not a regular file; choose another name"),
        ("mask.png", "is an input of this edit; choose another file"),
        ("photo.jpg", "is an input of this edit; choose another file"),
    ],
)
def test_an_output_that_cannot_be_written_is_told_before_the_work(
    output: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    os.mkfifo("pipe.png")
    for name in ("photo.jpg", "mask.png"):
        Path(name).write_bytes(b"")
    with pytest.raises(UserError) as fault:
        output_path(Path("photo.jpg"), Path(output), [Path("mask.png"), None])
    assert str(fault.value).startswith(f"--output: {output}: {said}")


def test_a_read_only_folder_is_told_before_the_work() -> None:
    """``/proc`` is read-only for root too."""
    with pytest.raises(UserError, match=r"^/proc/photo_edited.png: cannot be written .* --output"):
        output_path(Path("/proc/photo.png"), None, [])
    with pytest.raises(UserError, match=r"^/proc/x: cannot be written \(No such .*\); CURE$"):
        require_output_folder(Path("/proc/x"), Path("/proc/x"), "CURE")


@pytest.mark.parametrize("letter", ["l", "é", "\U0001f600"])
def test_a_long_name_leaves_room_for_what_is_added(letter: str, tmp_path: Path) -> None:
    image = Path(letter * (251 // len(letter.encode())) + ".jpg")
    path = result_path(tmp_path, image, "_edited")
    assert path.name.endswith(f"{letter}_edited.jpg")
    path.with_name(f"{path.stem}_9999{path.suffix}").touch()  # is not too long for the disk
    assert len(os.fsencode(path.name)) >= 240
    assert result_path(tmp_path, Path("photo.heic")) == tmp_path / "photo.heic"
    assert result_path(tmp_path, Path("photo.jxl")) == tmp_path / "photo.png"


def test_messages_name_what_the_user_gave() -> None:
    copies = {
        "image/original_image.jpg": "my photo.jpg",
        "image/mask.png": "mask.tif",
        "prompt/edit_image_prompt.txt": "--prompt",
        "prompt/original_image_prompt.txt": "--source",
        "prompt/target_word.txt": "--target",
    }
    for copy, original in copies.items():
        line = f"case photo-1: data/photo-1/{copy}: is wrong; mend it"
        given = with_user_paths(line, "photo-1", Path("my photo.jpg"), "mask.tif")
        assert given == f"{original}: is wrong; mend it"


def test_paths_are_printed_unchanged_but_in_one_line() -> None:
    assert printable_path(Path("a \udcff\n\x1b[2J.png")) == "a \udcff\\n\\x1b[2J.png"
