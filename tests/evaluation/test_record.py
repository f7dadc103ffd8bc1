"""What was measured survives its file, and a table says in words what there is no number for."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from editinfinity.errors import UserError
from editinfinity.evaluation.names import NAMES
from editinfinity.evaluation.record import MetricResults, picture_digest
from editinfinity.evaluation.scorer import EditedPicture, NotMeasuredError, Scorer

LINE = "no weights of CLIP ViT-L/14; run `editinfinity weights fetch clip`, or set clip_weights"


def test_numbers_nan_and_reasons_survive(tmp_path: Path) -> None:
    measured = MetricResults(
        {"background_psnr": 31.25, "background_ssim": math.nan}, {"clip_whole": LINE}
    )
    path = tmp_path / "a.metrics.json"
    measured.save(path)

    text = path.read_text("utf-8")
    content = json.loads(text)  # plain JSON: browsers read no NaN
    assert "NaN" not in text
    assert list(content["values"]) == sorted(NAMES)
    assert content["values"]["background_psnr"] == 31.25
    assert content["values"]["clip_whole"] is None
    assert content["missing"]["clip_whole"] == LINE
    assert content["missing"]["background_ssim"].startswith("nan")

    found = MetricResults.load(path)
    assert found.values["background_psnr"] == 31.25
    assert math.isnan(found.values["background_ssim"])
    assert found.missing == {"clip_whole": LINE}


def test_numbers_are_of_the_picture_they_were_taken_of(tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(b"one")
    MetricResults(picture=picture_digest(picture), drawn_with="so").save(tmp_path / "a.json")
    found = MetricResults.load(tmp_path / "a.json")
    assert found.describes(picture) and found.drawn_with == "so"
    picture.write_bytes(b"two")
    assert not found.describes(picture)
    picture.unlink()
    assert not found.describes(picture)


def test_cells(tmp_path: Path) -> None:
    measured = MetricResults(
        {"background_psnr": 31.25, "background_ssim": math.nan}, {"clip_whole": LINE}
    )
    assert measured.cell("background_psnr") == "31.25"
    assert measured.cell("background_ssim") == "nan"
    assert measured.cell("clip_whole") == "no weights of CLIP ViT-L/14"
    assert measured.cell("alignment") == "not measured"
    assert measured.number("background_ssim") is None


@pytest.mark.parametrize("content", [
        "", "[]", '{"values": 3, "missing": {}}', '{"values": {}}',
        '{"values": {"background_psnr": "12,3"}, "missing": {}}',
        '{"values": {"background_psnr": [1]}, "missing": {}}',
    ],
)  # fmt: skip
def test_a_damaged_file_is_told_in_a_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.metrics.json"
    path.write_text(content)
    with pytest.raises(UserError, match="is not a metrics file"):
        MetricResults.load(path)


def test_a_scorer_keeps_what_a_model_cannot_say_apart_from_what_is_missing() -> None:
    def says(edited: EditedPicture) -> dict[str, float]:
        assert edited.plain_prompt == "a cat"
        return {"clip_whole": 20.0}

    def silent(edited: EditedPicture) -> dict[str, float]:
        raise NotMeasuredError(("alignment",), "the prompt names nothing")

    picture = np.zeros((32, 32, 3), np.uint8)
    scorer = Scorer([says, silent], {"image_reward": "no weights"})
    found = scorer.measure(EditedPicture(picture, picture, None, "a [cat]"))

    assert found.values["clip_whole"] == 20
    assert math.isnan(found.values["background_psnr"])  # no mask: all of it may change
    assert found.missing == {"image_reward": "no weights", "alignment": "the prompt names nothing"}
