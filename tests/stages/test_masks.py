"""Stages attention_map and kernel."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from editinfinity.editing.blend_mask import cells_of_attention, make_blend_mask
from editinfinity.errors import UserError
from editinfinity.files.features import ImageFeatures
from editinfinity.files.maps import KERNEL, load_map
from editinfinity.files.masks import read_mask
from editinfinity.stages.attention_map import collect_attention
from editinfinity.stages.check import EditInput, check_case
from editinfinity.stages.kernel import make_kernel
from editinfinity.stages.mask_pictures import draw_mask_pictures

from .conftest import TINY, Worked


def test_attention_is_on_the_reference_grid_and_deterministic(
    worked: Worked, tmp_path: Path
) -> None:
    attention = load_file(worked.attention)["attention"]
    assert attention.shape == ImageFeatures.load(worked.image).schedule.reference_grid == (56, 70)
    assert attention.min() > 0 and np.ptp(attention) > 0
    collect_attention(
        image_features=worked.image,
        text_features=worked.text,
        target_word="CUP",
        output=tmp_path / "again",
        model=TINY,
    )
    assert np.array_equal(load_file(tmp_path / "again")["attention"], attention)


def test_another_word_looks_elsewhere(worked: Worked, tmp_path: Path) -> None:
    collect_attention(
        image_features=worked.image,
        text_features=worked.text,
        target_word="wooden  table",
        output=tmp_path / "table",
        model=TINY,
    )
    tables, cups = (load_file(p)["attention"] for p in (tmp_path / "table", worked.attention))
    assert not np.allclose(tables, cups)


@pytest.mark.parametrize(
    "word, fault", [("dog", "'dog' is not in"), ("tab", "only a part of 'table'")]
)
def test_a_word_that_is_not_there_is_an_error(
    worked: Worked, tmp_path: Path, word: str, fault: str
) -> None:
    with pytest.raises(UserError, match=fault):
        collect_attention(
            image_features=worked.image,
            text_features=worked.text,
            target_word=word,
            output=tmp_path / "a",
            model=TINY,
        )
    assert not list(tmp_path.iterdir())


def test_kernel_of_a_users_mask(worked: Worked, tmp_path: Path) -> None:
    kernel = load_file(worked.kernel)["kernel"]
    edited = read_mask(worked.mask, (256, 320))
    assert np.array_equal(kernel, make_blend_mask(edited, (56, 70), "linear"))
    picture = tmp_path / "mask_out.png"
    make_kernel(
        image_features=worked.image,
        mask=worked.mask,
        smoothing="hard",
        output=tmp_path / "kernel",
    )
    draw_mask_pictures(
        image_features=worked.image,
        mask=worked.mask,
        mask_image=picture,
        heatmap=tmp_path / "heat.png",
    )
    assert np.array_equal(read_mask(picture, (256, 320)), edited)
    assert set(np.unique(load_file(tmp_path / "kernel")["kernel"])) == {0.0, 1.0}
    assert Image.open(tmp_path / "heat.png").size == (320, 256)


def test_a_coco_file_of_several_photographs_is_checked_and_used_by_name(
    worked: Worked, tmp_path: Path
) -> None:
    rows, columns = np.nonzero(read_mask(worked.mask, (256, 320)))
    left, top = int(columns.min()), int(rows.min())
    box = [left, top, int(columns.max()) - left, int(rows.max()) - top]
    mask = tmp_path / "mask.json"
    mask.write_text(
        json.dumps(
            {
                "images": [
                    {"id": 1, "file_name": "other.jpg", "height": 9, "width": 7},
                    {"id": 2, "file_name": worked.photograph.name, "height": 256, "width": 320},
                ],
                "annotations": [
                    {"image_id": 1, "bbox": [0, 0, 300, 200]},
                    {"image_id": 2, "bbox": box},
                ],
            }
        )
    )
    edits = [EditInput("edit", "a blue cup", mask=mask)]
    check_case(
        case="cup", image=worked.photograph, source_prompt="a red cup", edits=edits,
        output=tmp_path / "check.json",
    )  # fmt: skip
    given = {"image_features": worked.image, "mask": mask, "output": tmp_path / "kernel"}
    make_kernel(**given, photograph=worked.photograph)
    assert np.array_equal(
        load_file(tmp_path / "kernel")["kernel"], load_file(worked.kernel)["kernel"]
    )
    with pytest.raises(UserError, match="has annotations of several images"):
        make_kernel(**given)


def test_white_masks_are_the_opposite(worked: Worked, tmp_path: Path) -> None:
    inverted = Image.eval(Image.open(worked.mask), lambda value: 255 - value)
    inverted.save(tmp_path / "white.png")
    make_kernel(
        image_features=worked.image,
        mask=tmp_path / "white.png",
        mask_edit_region="white",
        output=tmp_path / "kernel",
    )
    assert np.array_equal(
        load_file(tmp_path / "kernel")["kernel"], load_file(worked.kernel)["kernel"]
    )


def test_kernel_of_an_attention_map(worked: Worked, tmp_path: Path) -> None:
    attention = load_file(worked.attention)["attention"]
    given = {
        "image_features": worked.image,
        "attention": worked.attention,
        "attention_threshold": 0.7,
    }
    make_kernel(output=tmp_path / "kernel", **given)
    draw_mask_pictures(mask_image=tmp_path / "mask.png", heatmap=tmp_path / "heat.png", **given)
    cells = cells_of_attention(attention, 0.7)
    assert 0 < cells.sum() < cells.size
    kernel = load_file(tmp_path / "kernel")["kernel"]
    assert (kernel[cells] == 0).all() and kernel.max() > 0
    drawn = read_mask(tmp_path / "mask.png", (256, 320))
    assert drawn.mean() == pytest.approx(cells.mean(), abs=0.03)


def test_a_blend_mask_is_the_kernel_whatever_the_smoothing(worked: Worked, tmp_path: Path) -> None:
    blend = np.ones((56, 70), np.float32)
    blend[10:20, 30:50], blend[20:30, 30:50] = 0, 0.75
    np.save(tmp_path / "blend.npy", blend)
    given = {"image_features": worked.image, "blend": tmp_path / "blend.npy"}
    for smoothing in ("linear", "hard"):
        make_kernel(output=tmp_path / smoothing, smoothing=smoothing, mask_grow=50, **given)
        kernel, metadata = load_map(tmp_path / smoothing, KERNEL, (56, 70))
        assert np.array_equal(kernel, blend)
        assert metadata == {"kind": KERNEL, "mask_source": "blend", "smoothing": None}
    draw_mask_pictures(mask_image=tmp_path / "mask.png", heatmap=tmp_path / "heat.png", **given)
    drawn = read_mask(tmp_path / "mask.png", (256, 320))  # black: wherever something may change
    assert drawn.mean() == pytest.approx((blend < 1).mean(), abs=0.01)
    assert drawn[60:130, 150:220].all()
    heat = np.asarray(Image.open(tmp_path / "heat.png").convert("L"), float)
    photograph = np.asarray(Image.open(worked.photograph).convert("L"), float)
    hottest, warm, cold = ((heat - photograph)[r, 160:210].mean() for r in (
        slice(52, 88), slice(100, 134), slice(160, 250)))  # fmt: skip
    assert hottest > warm > cold


def test_kernel_needs_one_source_of_its_own_photograph(worked: Worked, tmp_path: Path) -> None:
    for both in (
        {},
        {"mask": worked.mask, "attention": worked.attention},
        {"mask": worked.mask, "blend": worked.mask},
    ):
        with pytest.raises(
            UserError, match="either a mask, an attention map, a blend mask or prompt"
        ):
            make_kernel(image_features=worked.image, output=tmp_path / "k", **both)
    Image.new("L", (256, 320)).save(tmp_path / "turned.png")
    with pytest.raises(UserError, match="turn it upright too"):
        make_kernel(
            image_features=worked.image, mask=tmp_path / "turned.png", output=tmp_path / "k"
        )


def test_the_kernel_stage_starts_without_torch() -> None:
    code = (
        "import sys, editinfinity.stages.kernel, editinfinity.stages.finish,"
        "editinfinity.stages.check, editinfinity.stages.jsonl; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("box", "smoothing", "told"),
    [
        ((100, 80, 101, 81), "linear", "dot.png: marks too little for a visible edit"),
        ((100, 80, 104, 84), "none", "dot.png: marks too little for a visible edit"),
        ((100, 80, 104, 84), "linear", None),
        (None, "linear", "dot.png: marks nothing as edited"),
    ],
)
def test_a_mask_too_small_to_change_anything_is_told_once(
    worked: Worked,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    box: tuple[int, int, int, int] | None,
    smoothing: str,
    told: str | None,
) -> None:
    mask = Image.new("L", (320, 256), 255)
    if box is not None:
        mask.paste(0, box)
    mask.save(tmp_path / "dot.png")
    make_kernel(
        image_features=worked.image,
        mask=tmp_path / "dot.png",
        smoothing=smoothing,
        output=tmp_path / "kernel",
    )
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warned) == (told is not None)
    if told is not None:
        assert told in warned[0]
