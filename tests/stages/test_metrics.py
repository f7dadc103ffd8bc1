"""Stage ``metrics``: what is compared with what, and under whose mask."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from editinfinity.errors import UserError
from editinfinity.evaluation.background import background_metrics
from editinfinity.evaluation.canvas import mask_on_canvas, with_border
from editinfinity.evaluation.record import MetricResults
from editinfinity.files.geometry import Geometry
from editinfinity.files.images import write_png
from editinfinity.files.maps import ATTENTION, save_map
from editinfinity.settings.groups import ModelSettings
from editinfinity.stages.metrics import measure_edit

CPU = ModelSettings("tiny", device="cpu", threads=1)
SIDE = 64


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, Path]:
    """A photograph of 120×90 pixels, and a drawing of the square in its middle."""
    rng = np.random.default_rng(0)
    photo = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize((120, 90))
    photo.save(tmp_path / "photo.png")
    geometry = Geometry.fit((90, 120), (SIDE, SIDE))
    drawn = photo.resize((SIDE, SIDE), Image.Resampling.LANCZOS, box=geometry.box)
    pixels = np.array(drawn)
    pixels[20:40, 20:40] = 255 - pixels[20:40, 20:40]
    facts = {"model": "tiny", "prompt": "a [cat]", "geometry": geometry.to_dict()}
    picture = tmp_path / "edit.png"
    write_png(picture, Image.fromarray(pixels), json.dumps(facts))
    return tmp_path / "photo.png", picture


def measure(made: tuple[Path, Path], **more: object) -> MetricResults:
    output = made[1].with_suffix(".metrics.json")
    measure_edit(picture=made[1], image=made[0], output=output, model=CPU, **more)
    return MetricResults.load(output)


def canvases(made: tuple[Path, Path]) -> tuple[np.ndarray, np.ndarray]:
    size, lanczos = (512, 512), Image.Resampling.LANCZOS
    box = Geometry.fit((90, 120), (SIDE, SIDE)).box
    with Image.open(made[0]) as photo, Image.open(made[1]) as drawn:
        return np.array(photo.resize(size, lanczos, box=box)), np.array(drawn.resize(size, lanczos))


def test_the_drawing_is_compared_with_what_the_model_saw_under_the_users_mask(
    made: tuple[Path, Path],
) -> None:
    mask = np.full((90, 120), 255, np.uint8)
    mask[20:70, 40:90] = 0
    path = made[0].with_name("mask.png")
    Image.fromarray(mask).save(path)

    found = measure(made, mask=path)

    seen = (mask == 0)[:, 15:105]  # the square in the middle
    region = with_border(mask_on_canvas(seen, (512, 512)))
    wanted = background_metrics(*canvases(made), region)
    assert found.values == pytest.approx(wanted)
    assert 20 < wanted["background_psnr"] < 100
    assert "another model" in found.missing["alignment"]


def test_without_a_mask_there_is_no_background(made: tuple[Path, Path]) -> None:
    assert math.isnan(measure(made).values["background_psnr"])


def test_an_attention_map_is_a_mask_too(made: tuple[Path, Path]) -> None:
    attention = np.zeros((64, 64), np.float32)
    attention[16:48, 16:48] = 1
    path = made[0].with_name("attention.safetensors")
    save_map(path, ATTENTION, attention, {"target_word": "cat"})

    found = measure(made, attention=path)

    region = with_border(mask_on_canvas(attention > 0.5, (512, 512)))
    assert found.values == pytest.approx(background_metrics(*canvases(made), region))


def test_of_a_blend_mask_the_cells_that_are_mostly_generated_are_judged_as_edited(
    made: tuple[Path, Path],
) -> None:
    blend = np.ones((64, 64), np.float32)
    blend[16:48, 16:32], blend[16:48, 32:40], blend[16:48, 40:48] = 0, 0.49, 0.5
    path = made[0].with_name("blend.npy")
    np.save(path, blend)

    found = measure(made, blend=path)

    region = with_border(mask_on_canvas(blend < 0.5, (512, 512)))
    assert region[256, 300] and not region[256, 350]
    assert found.values == pytest.approx(background_metrics(*canvases(made), region))


def test_another_photograph_is_refused_in_a_line(made: tuple[Path, Path]) -> None:
    Image.new("RGB", (90, 90)).save(made[0])
    with pytest.raises(UserError, match="is not an edit of"):
        measure(made)


def test_a_picture_that_does_not_say_how_it_was_made_is_refused(made: tuple[Path, Path]) -> None:
    Image.new("RGB", (64, 64)).save(made[1])
    with pytest.raises(UserError, match="has no settings of an edit"):
        measure(made)
