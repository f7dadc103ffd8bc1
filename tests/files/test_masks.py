"""Masks as people have them: alpha, polygons, boxes, grown ones."""

from __future__ import annotations

import base64
import io
import json
import os
import zlib
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
    "labelme oriented rectangle": {
        **LABELME,
        "shapes": [{"points": CORNERS, "shape_type": "oriented_rectangle"}],
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


def in_base64(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def labelme_mask(area: np.ndarray, at: tuple[float, float], **changes: Any) -> dict[str, Any]:
    """As LabelMe's AI tools write it: values 0 and 1, between the first and the last pixel."""
    height, width = area.shape
    last = [at[0] + width - 1, at[1] + height - 1]
    png = in_base64(Image.fromarray(area.astype(np.uint8)))
    return {"points": [list(at), last], "shape_type": "mask", "mask": png, **changes}


AREA = np.random.default_rng(0).random((20, 16)) < 0.5


@pytest.mark.parametrize("scale", [1, 3])
def test_the_pixels_of_labelmes_ai_tools(tmp_path: Path, scale: int) -> None:
    polygon = {"points": [[60, 2], [75, 2], [75, 9], [60, 9]]}
    shapes = [labelme_mask(AREA, (10, 30)), polygon]
    (tmp_path / "m.json").write_text(json.dumps({**LABELME, "shapes": shapes}))
    expected = np.zeros(SIZE, bool)
    expected[30:50, 10:26] = AREA
    expected[2:10, 60:76] = True
    expected = expected.repeat(scale, 0).repeat(scale, 1)
    found = read_mask(tmp_path / "m.json", (SIZE[0] * scale, SIZE[1] * scale))
    assert (found[:, : 50 * scale] == expected[:, : 50 * scale]).all()
    assert overlap(found, expected) > 0.9


def test_pixels_that_reach_over_the_edge_are_cut_there(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text(
        json.dumps({**LABELME, "shapes": [labelme_mask(AREA, (72.2, -4.8))]})
    )
    expected = np.zeros(SIZE, bool)
    expected[:15, 72:] = AREA[5:, :8]
    assert (read_mask(tmp_path / "m.json", SIZE) == expected).all()


def bomb() -> str:
    """A PNG that says it is 30000×30000, and would be."""

    def chunk(name: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(name + data).to_bytes(4, "big")
        return len(data).to_bytes(4, "big") + name + data + crc

    side = (30_000).to_bytes(4, "big")
    head, data = side + side + bytes([8, 0, 0, 0, 0]), zlib.compress(bytes(10**6))
    whole = chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + whole).decode()


PNG = labelme_mask(AREA, (0, 0))["mask"]
FAR = [[0, 0], [29_999, 29_999]]


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        (
            {"mask": "no base64!"},
            "annotation 2: has a mask that is not a base64 PNG; export it again",
        ),
        ({"mask": None}, "has a mask that is not a base64 PNG"),
        ({"mask": 7}, "has a mask that is not a base64 PNG"),
        ({"mask": base64.b64encode(b"GIF89a").decode()}, "has a mask that is not a base64 PNG"),
        ({"mask": PNG[: len(PNG) // 8 * 4]}, "has a mask that is not a base64 PNG"),
        ({"mask": bomb()}, "has a mask"),
        ({"mask": bomb(), "points": FAR}, "has a corner far outside"),
        ({"mask": in_base64(Image.new("1", (90, 20))), "points": [[0, 0], [89, 19]]}, "90×20 pix"),
        ({"points": [[10, 20], [30, 39]]}, "has a mask of 16×20 pixels that does not match its"),
        ({"points": [[10, 20]]}, "annotation 2: cannot be read as annotations; export"),
        ({"points": [[1e30, 20], [1e30, 39]]}, "has a corner far outside the picture"),
        ({"points": [[2**40, 20], [2**40 + 15, 39]]}, "has a corner far outside the picture"),
        ({"shape_type": "linestrip"}, "is a shape without an area (linestrip); delete it, or"),
        ({"shape_type": "po\nint"}, "without an area (po?int)"),
        ({"shape_type": ["mask"]}, "annotation 2: cannot be read"),
    ],
)
def test_shapes_that_cannot_be_read_are_one_line_and_not_passed_over(
    tmp_path: Path, changes: dict[str, Any], fault: str
) -> None:
    shapes = [{"points": CORNERS}, labelme_mask(AREA, (10, 30), **changes)]
    (tmp_path / "m.json").write_text(json.dumps({**LABELME, "shapes": shapes}))
    with pytest.raises(UserError) as raised:
        read_mask(tmp_path / "m.json", SIZE)
    assert fault in str(raised.value) and "\n" not in str(raised.value)


def of_coco(*names: str, ids: tuple[int, ...] = (7, 8, 9)) -> dict[str, Any]:
    """The square in the first image, at twice its size; other boxes in others."""
    box = [2 * 10, 2 * 20, 2 * 19, 2 * 19]
    sizes = [(120, 160), (500, 300), (500, 300)]
    images = [
        {"id": id_, "file_name": name, "height": height, "width": width}
        for id_, name, (height, width) in zip(ids, names, sizes, strict=False)
    ]
    boxes = [(8, [0, 0, 300, 500]), (7, box), (9, [5, 5, 9, 9])]
    return {"images": images, "annotations": [{"image_id": i, "bbox": b} for i, b in boxes]}


@pytest.mark.parametrize(
    "names",
    [
        ("photo.jpg", "b.jpg", "c.jpg"),
        ("photo.jpg", "photo.png", "c.jpg"),
        ("train/photo.jpg", "other.jpg"),
        ("D:\\train\\photo.tif", "other.jpg"),
        ("anything.jpg",),
    ],
)
def test_of_a_coco_file_of_several_images_the_photographs_is_taken(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    (tmp_path / "m.json").write_text(json.dumps(of_coco(*names)))
    mask = read_mask(tmp_path / "m.json", SIZE, photograph=tmp_path / "photo.jpg")
    assert overlap(mask, square()) > 0.94


@pytest.mark.parametrize(
    ("names", "fault"),
    [
        (("a.jpg", "b.jpg"), "images (a.jpg, b.jpg), none of them named like photo.jpg; export"),
        (("1/photo.jpg", "2/photo.jpg", "c"), "(1/photo.jpg, 2/photo.jpg), several of them named"),
        (("photo.tif", "photo.png"), "(photo.tif, photo.png), several of them named like"),
        (("a\nb", "c"), "(a?b, c), none of them"),
    ],
)
def test_a_coco_file_of_which_no_one_image_can_be_told_names_them(
    tmp_path: Path, names: tuple[str, ...], fault: str
) -> None:
    (tmp_path / "m.json").write_text(json.dumps(of_coco(*names)))
    with pytest.raises(UserError) as raised:
        read_mask(tmp_path / "m.json", SIZE, photograph=tmp_path / "photo.jpg")
    assert fault in str(raised.value) and "\n" not in str(raised.value)
    with pytest.raises(UserError, match="has annotations of several images"):
        read_mask(tmp_path / "m.json", SIZE)


def test_many_images_are_named_in_part(tmp_path: Path) -> None:
    images = [{"id": number, "file_name": f"{number}.jpg"} for number in range(1000)]
    (tmp_path / "m.json").write_text(json.dumps({"images": images, "annotations": []}))
    with pytest.raises(UserError, match=r"\(0.jpg, 1.jpg, 2.jpg, 3.jpg, 4.jpg and 995 more\)"):
        read_mask(tmp_path / "m.json", SIZE, photograph=Path("photo.jpg"))


def test_annotations_of_an_image_that_is_not_there_are_not_taken(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text(json.dumps(of_coco("photo.jpg", ids=(1,))))
    with pytest.raises(UserError, match=r"has no annotation of its image photo\.jpg"):
        read_mask(tmp_path / "m.json", SIZE)


@pytest.mark.parametrize("name", ["m.json", "m.txt"])
def test_a_pipe_is_no_mask(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match="is a pipe, not a file; put the mask there"):
        read_mask(tmp_path / name, SIZE)


@pytest.mark.parametrize("text", ["10,20,20,20", " 10, 20, 20, 20\n", "10 20 20 20"])
def test_a_box(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.txt").write_text(text)
    assert (read_mask(tmp_path / "m.txt", SIZE) == square()).all()


FAULTS = {
    "m.txt": {
        "ten,20,3,4": "is not x,y,width,height in pixels; write",
        "100,10,5,5": "lies outside the photograph, which is 80×60",
        "10,20,0,0": "lies outside",
        "": "is not x,y,width,height",
    },
    "m.json": {
        "{": "is not JSON",
        "[" * 100_000: "is not JSON",
        "[1]": "is neither LabelMe",
        "5": "is neither LabelMe, COCO, VGG",
        '{"shapes": []}': "contains no polygon",
        '{"shapes": [{"points": [[1]]}]}': "annotation 1: cannot be read",
        '{"shapes": [{"points": [["a", "b"]]}]}': "that is not a number",
        '{"shapes": [{"points": [[1, 1], [1e999, 2], [3, 3]]}]}': "that is not a number",
        '{"shapes": [{"points": [[1, 1], [3, 3]]}]}': "has a polygon of only 2 corners",
        '{"shapes": [{"shape_type": "circle", "points": [[9, 9], [1e7, 9]]}]}': "a corner far",
        '{"annotations": [{"segmentation": [[1, 1, 5, 5]]}]}': "has a polygon of only 2 corners",
        '{"annotations": [{"keypoints": [1, 1, 2]}]}': "contains no polygon, rectangle",
        '{"shapes": 3}': "m.json: cannot be read",
        '{"annotations": [{"segmentation": {"counts": []}}]}': "annotation 1: cannot be read",
        '{"annotations": [{"image_id": 1}, {"image_id": 2}]}': "annotations of several images",
        json.dumps({"imageHeight": 80, "imageWidth": 60, "shapes": [{"points": [[1, 1]] * 3}]}): (
            "is 60×80 pixels but"
        ),
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
