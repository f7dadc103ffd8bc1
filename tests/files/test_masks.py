"""Masks as people have them: alpha, polygons, boxes, grown ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from editinfinity.errors import UserError
from editinfinity.files.masks import read_mask
from editinfinity.files.preview import mask_preview

SIZE = (60, 80)
SQUARE = np.s_[20:40, 10:30]


def square() -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[SQUARE] = True
    return mask


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    return float((first & second).sum() / (first | second).sum())


@pytest.mark.parametrize(("region", "inverted"), [("transparent", False), ("opaque", True)])
def test_the_alpha_channel_marks_the_edit(tmp_path: Path, region: str, inverted: bool) -> None:
    alpha = np.where(square(), 0, 255).astype(np.uint8)
    picture = Image.new("RGB", SIZE[::-1], (9, 200, 9))
    picture.putalpha(Image.fromarray(alpha))
    picture.save(tmp_path / "m.png")
    assert (read_mask(tmp_path / "m.png", SIZE, region) == square() ^ inverted).all()
    picture.convert("RGB").save(tmp_path / "n.png")
    with pytest.raises(UserError, match=r"n\.png: has no transparent part; set mask_edit_region"):
        read_mask(tmp_path / "n.png", SIZE, region)


CORNERS = [[10, 20], [29, 20], [29, 39], [10, 39]]
LABELME: dict[str, Any] = {"imageHeight": 60, "imageWidth": 80}
POLYGONS: dict[str, dict[str, Any]] = {
    "labelme polygon": {**LABELME, "shapes": [{"points": CORNERS, "shape_type": "polygon"}]},
    "labelme rectangle": {
        **LABELME,
        "shapes": [{"points": [[29, 39], [10, 20]], "shape_type": "rectangle"}],
    },
    "labelme of another size": {
        "imageHeight": 120,
        "imageWidth": 160,
        "shapes": [{"points": [[2 * x, 2 * y] for x, y in CORNERS]}],
    },
    "coco polygon": {
        "images": [{"height": 60, "width": 80}],
        "annotations": [{"segmentation": [[c for corner in CORNERS for c in corner]]}],
    },
    "coco box": {"annotations": [{"bbox": [10, 20, 19, 19]}]},
}


@pytest.mark.parametrize("name", POLYGONS)
def test_polygons(tmp_path: Path, name: str) -> None:
    (tmp_path / "m.json").write_text(json.dumps(POLYGONS[name]))
    assert overlap(read_mask(tmp_path / "m.json", SIZE), square()) > 0.94


def test_a_circle(tmp_path: Path) -> None:
    shape = {"points": [[40, 30], [40, 40]], "shape_type": "circle"}
    (tmp_path / "m.json").write_text(json.dumps({**LABELME, "shapes": [shape]}))
    assert read_mask(tmp_path / "m.json", SIZE).sum() == pytest.approx(np.pi * 100, rel=0.15)


@pytest.mark.parametrize("text", ["10,20,20,20", " 10, 20, 20, 20\n", "10 20 20 20"])
def test_a_box(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.txt").write_text(text)
    assert (read_mask(tmp_path / "m.txt", SIZE) == square()).all()


FAULTS = {
    "m.txt": {
        "ten,20,3,4": "is no box; write x,y,width,height",
        "100,10,5,5": "lies outside the photograph, which is 80×60",
        "10,20,0,0": "lies outside",
        "": "is no box",
    },
    "m.json": {
        "{": "is no JSON",
        "[" * 100_000: "is no JSON",
        "[1]": "is neither of LabelMe",
        "5": "cannot be read",
        '{"shapes": []}': "holds no polygon",
        '{"shapes": [{"points": [[1]]}]}': "its polygons cannot be read",
        '{"shapes": [{"points": [["a", "b"]]}]}': "its polygons cannot be read",
        '{"shapes": [{"points": [[1, 1], [1e999, 2], [3, 3]]}]}': "its polygons cannot be read",
        '{"shapes": 3}': "its polygons cannot be read",
        '{"annotations": [{"segmentation": {"counts": []}}]}': "holds run-length masks",
        '{"annotations": [{"image_id": 1}, {"image_id": 2}]}': "annotations of several images",
        '{"imageHeight": 80, "imageWidth": 60, "shapes": [{"points": []}]}': "is 60×80 pixels but",
    },
}


@pytest.mark.parametrize(
    ("name", "text", "fault"), [(n, t, f) for n, rows in FAULTS.items() for t, f in rows.items()]
)
def test_faults_are_one_line(tmp_path: Path, name: str, text: str, fault: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError) as raised:
        read_mask(tmp_path / name, SIZE)
    assert fault in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("pixels", [1, 2, 3, 5, 13, 200])
def test_growing_adds_a_margin_of_so_many_pixels(tmp_path: Path, pixels: int) -> None:
    (tmp_path / "m.txt").write_text("10,20,20,20")
    expected = np.zeros(SIZE, bool)
    expected[max(0, 20 - pixels) : 40 + pixels, max(0, 10 - pixels) : 30 + pixels] = True
    assert (read_mask(tmp_path / "m.txt", SIZE, grow=pixels) == expected).all()


def test_the_preview_tints_what_is_edited() -> None:
    photograph = Image.new("RGB", (2000, 1500), (90, 120, 90))
    mask = np.zeros((1500, 2000), bool)
    mask[500:1000, 500:1000] = True
    shown = mask_preview(photograph, mask, (400, 400, 800, 800))
    assert shown.size == (1024, 768)
    assert shown.getpixel((384, 384))[0] > 140 and shown.getpixel((900, 100)) == (90, 120, 90)
    assert shown.getpixel((round(400 * 0.512) + 1, 400)) == (255, 210, 0)
