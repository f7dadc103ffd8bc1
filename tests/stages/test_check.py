"""Stage check: all faults of a case at once, none of them a traceback."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from editinfinity.errors import UserError
from editinfinity.jobs.record import INPUT, MASK, JobWarning, logged_event
from editinfinity.stages.check import EditInput, check_case

from .conftest import PROMPT, Worked, draw_photograph


def test_a_sound_case_is_reported(worked: Worked, tmp_path: Path) -> None:
    prompt = tmp_path / "edit.txt"
    prompt.write_text("a blue cup")
    report = check_case(
        case="cup",
        image=worked.photograph,
        source_prompt=PROMPT,
        edits=[
            EditInput("edit", prompt, mask=worked.mask),
            EditInput("auto", "a green cup", target_word="cup"),
            EditInput("free", "a cat"),
        ],
        output=tmp_path / "check.json",
    )
    assert (report.image_size, report.ratio, report.warnings) == ((256, 320), 0.8, ())
    written = json.loads((tmp_path / "check.json").read_text())
    assert written["edits"] == ["edit", "auto", "free"]


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        (None, "a cat", "edit e: .* there is no source prompt"),
        (" ", "a cat", "edit e: .* there is no source prompt"),
        ("a  cat", "a cat", "edit e: .* they are equal; write what changes"),
        ("a dog", "a cat", None),
    ],
)
def test_a_place_found_from_the_prompts_needs_two_of_them(
    worked: Worked, tmp_path: Path, source: str | None, target: str, said: str | None
) -> None:
    edits = [EditInput("e", target, from_prompts=True)]
    arguments = {"case": "cup", "image": worked.photograph, "edits": edits,
                 "source_prompt": source, "output": tmp_path / "check.json"}  # fmt: skip
    if said is None:
        assert check_case(**arguments).warnings == ()
        return
    with pytest.raises(UserError, match=said):
        check_case(**arguments)


def test_all_faults_are_told_at_once(worked: Worked, tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes("grün".encode("latin-1"))
    Image.new("L", (50, 90)).save(tmp_path / "odd.png")
    with pytest.raises(UserError) as fault:
        check_case(
            case="cup",
            image=worked.photograph,
            source_prompt=PROMPT,
            edits=[
                EditInput("a", tmp_path / "latin.txt"),
                EditInput("b", "", mask=tmp_path / "odd.png"),
                EditInput("c", "fine", target_word="dog"),
                EditInput("d", "fine", mask=tmp_path / "none.png"),
            ],
            output=tmp_path / "check.json",
            faults=["edit e: known before"],
        )
    told = str(fault.value)
    for part in ("latin.txt: is not UTF-8", "edit prompt: is empty", "odd.png: is 50×90",
                 "'dog' is not in", "none.png: there is no such file", "known before"):  # fmt: skip
        assert part in told
    assert told.startswith("case cup: ") and "\n" not in told
    assert not (tmp_path / "check.json").exists()


def test_a_missing_photograph_does_not_hide_other_faults(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.jpg: there is no such file.*edit prompt: is empty"):
        check_case(
            case="c",
            image=tmp_path / "none.jpg",
            source_prompt=None,
            edits=[EditInput("edit", "")],
            output=tmp_path / "check.json",
        )


def test_a_blend_mask_must_fit_the_crop_that_the_model_sees(tmp_path: Path) -> None:
    draw_photograph(tmp_path / "wide.jpg", (640, 300))
    for shape, fits in (((45, 90), True), ((64, 64), False)):
        np.save(tmp_path / "blend.npy", np.ones(shape))
        given = {
            "case": "c", "image": tmp_path / "wide.jpg", "source_prompt": "a hill",
            "edits": [EditInput("edit", "a hat", blend=tmp_path / "blend.npy")],
            "output": tmp_path / "check.json",
        }  # fmt: skip
        if fits:
            assert check_case(**given).warnings == ()
            continue
        with pytest.raises(UserError, match="a grid of 64×64, but the photograph's is 45×90"):
            check_case(**given)


def test_doubtful_things_are_warnings(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    draw_photograph(tmp_path / "panorama.jpg", (900, 150))
    Image.new("L", (900, 150), 255).save(tmp_path / "white.png")
    report = check_case(
        case="c",
        image=tmp_path / "panorama.jpg",
        source_prompt="a hill",
        edits=[EditInput("edit", "a hill", mask=tmp_path / "white.png")],
        output=tmp_path / "check.json",
    )
    told = " ".join(report.warnings)
    assert "equals the source prompt" in told
    assert "marks nothing as edited" in told
    assert "50% of it" in told
    events = [event for record in caplog.records if (event := logged_event(record)) is not None]
    assert events == [
        JobWarning(text, MASK if "marks nothing" in text else INPUT) for text in report.warnings
    ]


@pytest.mark.parametrize("guidance", ["editmod", "aredit", "bitresedit"])
def test_methods_that_compare_prompts_need_a_source_prompt(
    worked: Worked, tmp_path: Path, guidance: str
) -> None:
    def check(source: str | None, guidance: str) -> None:
        edits = [EditInput("sky", "a blue cup", guidance=guidance)]
        check_case(
            case="cup", image=worked.photograph, source_prompt=source, edits=edits,
            output=tmp_path / "check.json",
        )  # fmt: skip

    for source in ("", None):
        with pytest.raises(UserError) as fault:
            check(source, guidance)
        assert str(fault.value) == (
            f"case cup: edit sky: source prompt: is empty, but {guidance} compares it with the "
            "edit prompt; write what the photograph shows (original_image_prompt.txt, or --source)"
        )
        check(source, "source_negative")
    check(PROMPT, guidance)
