"""``editinfinity again``: which files and settings a picture is made from, and what is told."""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from editinfinity.cases.create import NewEdit, mask_files_of
from editinfinity.cli import again as command
from editinfinity.cli.again import again
from editinfinity.environment import Environment, package_versions
from editinfinity.errors import UserError
from editinfinity.files.photograph import Photograph
from editinfinity.files.provenance import Fingerprint, Provenance, settings_used
from editinfinity.files.writing import write_photograph
from editinfinity.pipeline import EditInfinityPipeline
from editinfinity.settings.groups import LoraSettings, TrainingSettings
from tests.command import run
from tests.files.test_provenance import DEFAULTS
from tests.workflow.project import draw_image, draw_mask

MADE = Provenance(
    prompt="a cat",
    settings=settings_used({**DEFAULTS, "model": "tiny", "crop": "auto"}, "user", 1, 1, 1),
    source_prompt="a red cup",
    weights="tiny",
    environment=Environment("cpu", 1, package_versions()),
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    draw_image(tmp_path / "photo.png", 1, (160, 128))
    draw_mask(tmp_path / "mask.png", 40, (160, 128))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def picture(**changes: Any) -> Path:
    """Write ``made.jpg``, which says that it was made from the files of ``folder``."""
    made = replace(
        MADE,
        photograph=Fingerprint.of_file(Path("photo.png")),
        mask=Fingerprint.of_file(Path("mask.png")),
    )
    changes["settings"] = {**MADE.settings, **changes.get("settings", {})}
    told = replace(made, **changes)
    write_photograph(Path("made.jpg"), Photograph(Image.new("RGB", (160, 128))), told.to_json())
    return Path("made.jpg")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the edit was asked to do, in place of doing it."""
    given: dict[str, Any] = {}

    def edit_one(*arguments: Any, overwrite: bool) -> Path:
        names = ("image", "edit", "source", "settings", "work", "target")
        given.update(zip(names, arguments, strict=True))
        return Path("made.jpg")

    monkeypatch.setattr(command, "edit_one", edit_one)
    return given


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_files_are_found_by_their_content_under_any_name(
    folder: Path, asked: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    made = picture()
    Path("photo.png").rename("renamed.dat")
    Path("mask.png").rename("0.png")
    draw_image(Path("photo.png"), 2, (160, 128))
    again(made)
    assert asked["image"] == Path("renamed.dat") and asked["edit"].mask == Path("0.png")
    assert asked["edit"].prompt == "a cat" and asked["source"] == "a red cup"
    assert asked["target"] == Path("made_again.jpg") and told(caplog) == []
    settings = asked["settings"]
    assert (settings["device"], settings["threads"], settings["crop"]) == ("cpu", 1, "auto")
    assert settings.items() >= MADE.settings.items()
    again(made, prompt="a dog", set=["seed=7", "threads=2"], output=Path("b.png"))
    assert asked["edit"].prompt == "a dog" and asked["target"] == Path("b.png")
    assert (asked["settings"]["seed"], asked["settings"]["threads"]) == (7, 2)
    assert told(caplog) == [f"{made}: the result may differ: it was made with threads: 1"]


def test_files_that_are_not_there_are_one_line(folder: Path, asked: dict[str, Any]) -> None:
    made = picture()
    Path("elsewhere").mkdir()
    photo = shutil.move("photo.png", "elsewhere")
    with pytest.raises(UserError, match="made.jpg: the photograph .* add --from PHOTO"):
        again(made)
    mask = shutil.move("mask.png", "elsewhere")
    again(made, photograph=Path(photo))  # the mask is beside the photograph
    assert asked["edit"].mask == Path(mask)
    Path(mask).unlink()
    with pytest.raises(UserError, match="made.jpg: the mask .* add --mask MASK"):
        again(made, photograph=Path(photo))
    again(made, photograph=Path(photo), set=["mask_source=none"])
    assert asked["edit"].mask is None
    with pytest.raises(UserError, match="there is no such file"):
        again(Path("nothing.png"))
    with pytest.raises(UserError, match="does not say how it was made"):
        again(Path(photo))
    with pytest.raises(UserError, match="made.jpg: is an input"):
        again(made, photograph=Path(photo), set=["mask_source=none"], output=made)


def test_other_files_are_told_and_cropped_anew(
    folder: Path, asked: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    made = picture(settings={"crop": "0,0,64,64"})
    again(made)
    assert asked["settings"]["crop"] == "0,0,64,64" and told(caplog) == []
    draw_mask(Path("other.png"), 20, (160, 128))
    draw_image(Path("another.png"), 2, (160, 128))
    again(made, photograph=Path("another.png"), mask=Path("other.png"))
    assert asked["settings"]["crop"] == "auto" and asked["edit"].mask == Path("other.png")
    assert told(caplog) == [
        "made.jpg: the result may differ: another.png is not the photograph that it was made "
        "from; other.png is not the mask that it was made with"
    ]


def test_files_that_the_picture_does_not_tell_may_be_its_own(
    folder: Path, asked: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Such as those that Python got as arrays: the crop stays, and the line leaves it open.

    A mask that was converted is the same by either fingerprint.
    """
    made = picture(settings={"crop": "0,0,64,64"}, photograph=None, mask=None)
    again(made, photograph=Path("photo.png"), mask=Path("mask.png"))
    assert asked["settings"]["crop"] == "0,0,64,64"
    assert told(caplog) == [
        "made.jpg: the result may differ: photo.png may not be the photograph that it was made "
        "from; mask.png may not be the mask that it was made with"
    ]
    caplog.clear()
    Image.open("mask.png").save("mask.webp", lossless=True)
    converted = mask_files_of(NewEdit("", mask=Path("mask.webp")), Path("photo.png"))[0]
    assert converted is not None
    for mask in (Fingerprint.of(converted[1]), Fingerprint.of_file(Path("mask.webp"))):
        again(picture(mask=mask), mask=Path("mask.webp"))  # made by the command, and in Python
    assert told(caplog) == []
    made = picture(settings={"mask_source": "attention"}, target_word="cup", mask=None)
    again(made, mask=Path("mask.png"))
    assert told(caplog) == [
        "made.jpg: the result may differ: mask.png is not the mask that it was made with"
    ]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"environment": None}, "it does not say with which versions it was made"),
        ({"environment": Environment("cpu", 1, "torch 1.0")}, "it was made with torch 1.0, and"),
        ({"environment": Environment("cuda", 1, package_versions())}, "it was made on cuda, where"),
        ({"environment": Environment("cpu", 9999, package_versions())}, ""),
        (
            {"training_environment": Environment("cpu", 1, "torch 1.0")},
            "trained with torch 1.0, and",
        ),
        ({"training_environment": Environment("cuda", 1, package_versions())}, "trained on cuda,"),
        ({"training_environment": Environment("cpu", 3, package_versions())}, "with threads: 3"),
        ({"weights": "tiny attention_bias=0"}, "it was made with tiny attention_bias=0, and here"),
        ({"weights": "w" * 9000}, "it was made with wwww"),
        ({"settings": {"lora_rank": "many"}}, "made.jpg: has settings that are not valid here"),
    ],
)
def test_what_differs_is_told_in_one_line(
    changes: dict[str, Any], line: str, folder: Path, asked: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    again(picture(**changes))
    assert len(told(caplog)) == bool(line) and line in "".join(told(caplog))
    assert len("".join(told(caplog))) < 1000
    assert asked["settings"].get("threads") in (1, None)


def test_a_place_without_a_file_needs_none(folder: Path, asked: dict[str, Any]) -> None:
    word = {"settings": {"mask_source": "attention"}, "target_word": "cup", "mask": None}
    again(picture(**word))
    assert (asked["edit"].target_word, asked["edit"].mask) == ("cup", None)
    with pytest.raises(UserError, match="target word: 'dog' is not"):
        again(picture(**{**word, "target_word": "dog"}))
    again(picture(box="1,2,30,40", mask=None))
    assert (asked["edit"].box, asked["edit"].mask) == ("1,2,30,40", None)
    again(picture(box="1,2,30,40", mask=None), mask=Path("mask.png"))
    assert (asked["edit"].box, asked["edit"].mask) == (None, Path("mask.png"))
    again(picture(settings={"mask_source": "both"}, mask=None))
    assert asked["settings"]["mask_source"] == "both" and not asked["edit"].is_localised
    again(picture(settings={"mask_source": "blend"}))
    assert asked["edit"].blend == Path("mask.png") and asked["edit"].mask is None


@pytest.mark.slow
def test_a_picture_made_in_python_is_made_again_with_the_same_bytes(folder: Path) -> None:
    pipe = EditInfinityPipeline.from_pretrained("tiny", device="cpu", threads=1)
    pipe.weights = "tiny"
    few = TrainingSettings(lora_learning_rate=1e-2, train_seed=5)
    inversion = pipe.invert(
        "photo.png", "a red cup", embedding_iterations=2, lora_iterations=1, training=few,
        lora=LoraSettings(lora_rank=2), crop=(0, 16, 96, 128),
    )  # fmt: skip
    pipe.edit(inversion, "a blue cup", mask=Path("mask.png"), cfg=3.0).save("made.webp")
    done = run(folder, "again", "made.webp")
    assert done.returncode == 0, done.stderr
    assert "has the same bytes as made.webp" in done.stderr and "may differ" not in done.stderr
    assert Path("made_again.webp").read_bytes() == Path("made.webp").read_bytes()
