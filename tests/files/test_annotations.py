"""Masks from files as annotation tools write them, made by hand after their documentation."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from editinfinity.errors import UserError
from editinfinity.files.annotations import annotations_of_photograph
from editinfinity.files.masks import read_mask

H, W = 64, 96
SIZE = (H, W)
CORNERS = [[30, 20], [60, 20], [60, 44], [30, 44]]
FLAT = [value for corner in CORNERS for value in corner]
BOX = np.zeros(SIZE, bool)
BOX[20:44, 30:60] = True
NOTHING = "contains no polygon, rectangle, circle or mask; draw one"


def read(path: Path, content: Any, photograph: str = "photo.jpg", size: Any = SIZE) -> np.ndarray:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_mask(path, size, photograph=Path(photograph))


def fault(path: Path, content: Any, photograph: str = "photo.jpg") -> str:
    with pytest.raises(UserError) as raised:
        read(path, content, photograph)
    line = str(raised.value)
    assert line.startswith(f"{path}: ") and "; " in line and len(line) < len(str(path)) + 300
    return line.removeprefix(f"{path}: ")


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    return float((first & second).sum() / (first | second).sum())


def runs(mask: np.ndarray, order: str = "F") -> list[int]:
    """Lengths of the runs of False and True in turn."""
    flat = mask.flatten(order)
    ends = [0, *(np.flatnonzero(flat[1:] != flat[:-1]) + 1).tolist(), flat.size]
    lengths = np.diff(ends).tolist()
    return [0, *lengths] if flat[0] else lengths


def packed(counts: list[int]) -> str:
    """Counts as COCO's API writes them: signed numbers of 5 bits a character, lowest first."""
    text = ""
    for position, count in enumerate(counts):
        rest = count - (counts[position - 2] if position > 2 else 0)
        while True:
            bits, rest = rest & 31, rest >> 5
            is_last = rest == (-1 if bits & 16 else 0)
            text += chr(48 + (bits if is_last else bits | 32))
            if is_last:
                break
    return text


def brush(mask: np.ndarray) -> list[int]:
    """RGBA pixels as Label Studio packs them, with repeated and single values."""
    values = np.repeat(mask.ravel().astype(int) * 255, 4).tolist()
    bits = f"{len(values):032b}" + f"{8 - 1:05b}" + "".join(f"{n - 1:04b}" for n in (3, 4, 8, 16))
    place = 0
    while place < len(values):
        end = place
        while end < len(values) and values[end] == values[place] and end - place < 2**16:
            end += 1
        if (place // 4) % 3 == 2:  # sometimes as single values
            end = min(end, place + 8)
            bits += "0" + "00" + f"{end - place - 1:03b}"
            bits += "".join(f"{value:08b}" for value in values[place:end])
        else:
            bits += "1" + "11" + f"{end - place - 1:016b}" + f"{values[place]:08b}"
        place = end
    bits += "0" * (-len(bits) % 8)
    return [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]


def labelme(*shapes: Any) -> dict[str, Any]:
    return {"shapes": list(shapes), "imageHeight": H, "imageWidth": W}


def coco(*annotations: Any, **image: Any) -> dict[str, Any]:
    return {
        "images": [{"id": 1, "file_name": "photo.jpg", "height": H, "width": W, **image}],
        "annotations": [{"image_id": 1, "iscrowd": 0, **entry} for entry in annotations],
    }


def rle(counts: Any, size: Any = SIZE) -> dict[str, Any]:
    return {"segmentation": {"size": list(size), "counts": counts}, "iscrowd": 1}


def via(*shapes: Any, name: str = "photo.jpg") -> dict[str, Any]:
    regions = [{"shape_attributes": shape, "region_attributes": {}} for shape in shapes]
    entry = {"filename": name, "size": 3210, "regions": regions, "file_attributes": {}}
    return {f"{name}3210": entry}


VIA_RECT = {"name": "rect", "x": 30, "y": 20, "width": 30, "height": 24}
VIA_POLYGON = {
    "name": "polygon",
    "all_points_x": [x for x, _ in CORNERS],
    "all_points_y": [y for _, y in CORNERS],
}


def task(*values: Any, name: str = "photo.jpg", **changes: Any) -> dict[str, Any]:
    results = [
        {"original_width": W, "original_height": H, "image_rotation": 0, "value": value, **changes}
        for value in values
    ]
    return {
        "id": 7,
        "data": {"image": f"/data/upload/3/0a1b2c3d-{name}"},
        "annotations": [{"id": 1, "was_cancelled": False, "result": results}],
        "predictions": [{"result": [{"value": {"x": 0, "y": 0, "width": 100, "height": 100}}]}],
    }


X, Y, LS_W, LS_H = 30 / 0.96, 20 / 0.64, 30 / 0.96, 24 / 0.64
PERCENT = {"x": X, "y": Y, "width": LS_W, "height": LS_H}


def cvat(*shapes: str, name: str = "photo.jpg", head: str = "", size: str = "") -> str:
    size = size or f'width="{W}" height="{H}"'
    image = f'<image id="0" name="{name}" {size}>{"".join(shapes)}</image>'
    return (
        f'<?xml version="1.0" encoding="utf-8"?>{head}<annotations><version>1.1</version>'
        f"<meta><task><name>{name}</name></task></meta>{image}</annotations>"
    )


CVAT_BOX = (
    '<box label="a" xtl="30" ytl="20" xbr="60" ybr="44"><attribute name="b">c</attribute></box>'
)
CVAT_RUNS = ", ".join(map(str, runs(BOX[10:50, 20:70], "C")))
CVAT_MASK = f'<mask rle="{CVAT_RUNS}" left="20" top="10" width="50" height="40"/>'

CSV_HEAD = (
    "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,"
    "region_attributes\n"
)


def csv_row(name: str, shape: Any, count: int = 1) -> str:
    quoted = json.dumps(shape).replace('"', '""')
    return f'{name},3210,"{{}}",{count},0,"{quoted}","{{}}"\n'


THE_BOX: dict[str, tuple[str, Any]] = {
    "x-anylabeling rectangle": (
        "m.json", labelme({"shape_type": "rectangle", "points": CORNERS}),
    ),
    "x-anylabeling rotation": (
        "m.json", labelme({"shape_type": "rotation", "points": CORNERS, "direction": 0.1}),
    ),
    "click without a drag": (
        "m.json", labelme({"points": CORNERS}, {"shape_type": "rectangle", "points": [[5, 5]] * 2}),
    ),
    "coco runs": ("m.json", coco(rle(runs(BOX)))),
    "coco runs as text": ("m.json", coco(rle(packed(runs(BOX))))),
    "coco runs of half the size": (
        "m.json", coco(rle(runs(BOX[::2, ::2]), (H // 2, W // 2))),
    ),
    "coco flat": ("m.json", coco({"segmentation": FLAT})),
    "coco empty part": ("m.json", coco({"segmentation": [FLAT, []]})),
    "coco empty part and box": (
        "m.json", coco({"segmentation": [[]], "bbox": [30, 20, 30, 24]}),
    ),
    "coco no segmentation": (
        "m.json", coco({"segmentation": [], "bbox": ["30", 20.0, 30, 24]}),
    ),
    "coco tags": (
        "m.json",
        coco({"segmentation": [FLAT]}, {"segmentation": [], "bbox": [0] * 4}, {"caption": "a"}),
    ),
    "coco id as text": ("m.json", coco({"segmentation": [FLAT], "image_id": "1"})),
    "coco id as text in images": ("m.json", coco({"segmentation": [FLAT]}, id="1")),
    "coco id with a point": ("m.json", coco({"segmentation": [FLAT], "image_id": 1.0})),
    "coco size as text": ("m.json", coco({"segmentation": [FLAT]}, width="96", height="64")),
    "coco rotated box": ("m.json", coco({"bbox": [33, 17, 24, 30], "rotation": 90})),
    "coco rotated box of cvat": (
        "m.json", coco({"bbox": [33, 17, 24, 30], "attributes": {"rotation": 270.0}}),
    ),
    "segment anything": (
        "m.json",
        {
            "image": {"image_id": 5, "file_name": "sa_5.jpg", "height": H, "width": W},
            "annotations": [{"id": 9, **rle(packed(runs(BOX)))}],
        },
    ),
    "via project": (
        "m.json",
        {"_via_settings": {}, "_via_img_metadata": via(VIA_RECT), "_via_attributes": {}},
    ),
    "via annotations": ("m.json", via(VIA_POLYGON)),
    "via 1": (
        "m.json",
        {"a": {"filename": "photo.jpg", "regions": {"0": {"shape_attributes": VIA_RECT}}}},
    ),
    "via csv": ("m.csv", CSV_HEAD + csv_row("photo.jpg", VIA_RECT)),
    "label studio polygon": (
        "m.json", [task({"points": [[x / 0.96, y / 0.64] for x, y in CORNERS], "closed": True})],
    ),
    "label studio one task without size": (
        "m.json",
        {"id": 1, "annotations": [{"result": [{"type": "rectanglelabels", "value": PERCENT}]}]},
    ),
    "label studio rotated about its corner": (
        "m.json",
        [task({"x": 60 / 0.96, "y": Y, "width": 24 / 0.96, "height": 30 / 0.64, "rotation": 90})],
    ),
    "label studio choices beside it": (
        "m.json", [task(PERCENT, {"choices": ["good"]}, {"text": ["a"]})],
    ),
    "label studio brush": (
        "m.json", [task({"format": "rle", "rle": brush(BOX)}, type="brushlabels")],
    ),
    "label studio json-min": (
        "m.json",
        [{"image": "s3://a/photo.jpg", "id": 1,
          "label": [{**PERCENT, "rotation": 0, "original_width": W, "original_height": H}]}],
    ),
    "label studio storage": (
        "m.json", {"id": 3, "result": task(PERCENT)["annotations"][0]["result"], "task": {"id": 7}},
    ),
    "cvat box": ("m.xml", cvat(CVAT_BOX, '<tag label="x" source="manual"></tag>')),
    "cvat polygon": (
        "m.XML", cvat('<polygon points="30.00,20.00;60.00,20.00;60.00,44.00;30.00,44.00"/>'),
    ),
    "cvat rotated box": (
        "m.xml", cvat('<box xtl="33" ytl="17" xbr="57" ybr="47" rotation="90.00"/>'),
    ),
    "cvat mask": ("m.xml", cvat(CVAT_MASK)),
}  # fmt: skip


@pytest.mark.parametrize("name", THE_BOX)
def test_every_format_marks_the_box(tmp_path: Path, name: str) -> None:
    file, content = THE_BOX[name]
    mask = read(tmp_path / file, content)
    if any(word in name for word in ("runs", "anything", "brush", "mask")):
        assert (mask == BOX).all()
    assert overlap(mask, BOX) > 0.88
    assert mask[21:43, 31:59].all() and not mask[:18].any() and not mask[:, :28].any()
    assert not mask[47:].any() and not mask[:, 63:].any()
    # On a photograph of twice the size it is the same area.
    if "via" not in name:  # whose files do not give the size
        larger = read(tmp_path / file, content, size=(2 * H, 2 * W))
        assert overlap(larger, BOX.repeat(2, 0).repeat(2, 1)) > 0.9


RISING = {  # an ellipse of radii 30 and 10 about (45, 32), rotated clockwise by 30°
    "via": via({"name": "ellipse", "cx": 45, "cy": 32, "rx": 30, "ry": 10, "theta": np.pi / 6}),
    "label studio": [
        task({"x": 45 / 0.96, "y": 50, "radiusX": 30 / 0.96, "radiusY": 10 / 0.64, "rotation": 30})
    ],
    "cvat": cvat('<ellipse cx="45" cy="32" rx="30" ry="10" rotation="30"/>'),
}


@pytest.mark.parametrize("name", RISING)
def test_an_ellipse_is_rotated_clockwise_about_its_centre(tmp_path: Path, name: str) -> None:
    mask = read(tmp_path / ("m.xml" if name == "cvat" else "m.json"), RISING[name])
    y, x = np.mgrid[:H, :W]
    cos, sin = np.cos(np.pi / 6), np.sin(np.pi / 6)
    along, across = (x - 45) * cos + (y - 32) * sin, -(x - 45) * sin + (y - 32) * cos
    assert overlap(mask, (along / 30) ** 2 + (across / 10) ** 2 <= 1) > 0.92


def test_circles_of_via(tmp_path: Path) -> None:
    mask = read(tmp_path / "m.json", via({"name": "circle", "cx": 45, "cy": 32, "r": 10}))
    assert mask.sum() == pytest.approx(np.pi * 100, rel=0.15) and mask[32, 36] and not mask[24, 37]


@pytest.mark.parametrize("seed", range(20))
def test_any_mask_of_runs_is_read_pixel_by_pixel(tmp_path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    mask = random.random(SIZE) < [0, 0.02, 0.5, 1][seed % 4] if seed > 3 else BOX ^ (seed % 2 == 0)
    if mask.any():
        for counts in (runs(mask), packed(runs(mask))):
            assert (read(tmp_path / "m.json", coco(rle(counts))) == mask).all()
        assert (read(tmp_path / "m.json", task({"rle": brush(mask)})) == mask).all()
        counts = ",".join(map(str, runs(mask, "C")))
        whole = f'<mask rle="{counts}" left="0" top="0" width="{W}" height="{H}"/>'
        assert (read(tmp_path / "m.xml", cvat(whole)) == mask).all()
    else:
        assert fault(tmp_path / "m.json", coco(rle(runs(mask)))) == NOTHING


HUGE = 10**9
BAD_ANNOTATION: dict[str, tuple[Any, str]] = {
    "counts too few": (coco(rle([10, 10])), "has a damaged run-length mask"),
    "counts too many": (coco(rle([*runs(BOX), 5])), "has a damaged run-length mask"),
    "negative count": (coco(rle([-5, 5, H * W])), "has a damaged run-length mask"),
    "fraction": (coco(rle([0.5, H * W - 0.5])), "has a damaged run-length mask"),
    "true": (coco(rle([True, H * W - 1])), "has a damaged run-length mask"),
    "overflow": (coco(rle([2**63, 2**63, H * W])), "has a damaged run-length mask"),
    "no text of counts": (coco(rle("a b")), "has a damaged run-length mask"),
    "cut text": (coco(rle(packed(runs(BOX))[:-3])), "has a damaged run-length mask"),
    "long numbers": (coco(rle("o" * 50 + "0")), "has a damaged run-length mask"),
    "empty text": (coco(rle("")), "has a damaged run-length mask"),
    "huge": (
        coco(rle([HUGE * HUGE], (HUGE, HUGE)), height=10**6, width=1500000),
        "gives a size that no picture has",
    ),
    "huge mask": (coco(rle([H * W * 10**8], (H * 10**4, W * 10**4))), "a mask of 960000×640000"),
    "other size": (coco(rle([50 * 50], (50, 50))), "a mask of 50×50 pixels on a picture of 96×64"),
    "no size": (coco(rle([50 * 50], ())), "has a run-length mask without size"),
    "negative box": (coco({"bbox": [10, 10, -5, 5]}), "has a box of -5×5; draw it again"),
    "box of five": (coco({"bbox": [10, 10, 5, 5, 45]}), "has a box of 5 numbers, not 4"),
    "odd": (coco({"segmentation": [FLAT[:-1]]}), "whose last corner lacks y"),
    "true in a box": (coco({"bbox": [True, 1, 5, 5]}), "that is not a number"),
    "text in a box": (coco({"bbox": ["left", 1, 5, 5]}), "that is not a number"),
    "nan": (coco({"bbox": [float("nan"), 1, 5, 5]}), "that is not a number"),
    "far": (coco({"bbox": [1e300, 1, 5, 5]}), "has a corner far outside the picture"),
    "infinite after scaling": (
        task({**PERCENT, "x": 1e308, "rotation": 20}), "has a corner far outside the picture",
    ),
    "angle": (coco({"bbox": [1, 1, 5, 5], "rotation": "inf"}), "that is not a number"),
    "no object": ({"annotations": [3]}, "annotation 1: cannot be read"),
    "zero boxes only": (coco({"bbox": [0, 0, 0, 0]}, {"bbox": [5, 5, 0, 9]}), NOTHING),
    "via polyline": (via(VIA_RECT, {"name": "polyline"}), "annotation 2: is a region without an"),
    "via uneven": (via({**VIA_POLYGON, "all_points_x": [1, 2, 3]}), "annotation 1: cannot be read"),
    "via zero": (via({**VIA_RECT, "width": 0}), NOTHING),
    "keypoint": (task({"x": 1, "y": 1, "width": 1}, type="keypointlabels"), "without an area (key"),
    "open line": (task({"points": [[1, 1], [2, 2]], "closed": False}), "(an open line)"),
    "rotated picture": (task(PERCENT, image_rotation=90), "was drawn on a rotated picture"),
    "brush cut": (task({"rle": brush(BOX)[:40]}), "has a damaged run-length mask"),
    "brush of other size": (task({"rle": brush(BOX[:, ::2])}), "has a damaged run-length mask"),
    "brush of other bytes": (task({"rle": [0, 1, 999]}), "annotation 1: cannot be read"),
    "brush without bytes": (task({"rle": HUGE}), "has a damaged run-length mask"),
    "brush without size": (
        task({"rle": brush(BOX)}, original_width=None), "has a brush mask without original_width",
    ),
    "too many boxes": (
        coco(*[{"bbox": [1, 1, 9, 9]}] * 10_000), "exceeds what can be drawn in minutes; export",
    ),
    "too many corners": (
        coco({"segmentation": [FLAT * 50_001]}), "annotation 1: exceeds what can be drawn in",
    ),
    "too many annotations": (coco(*[{}] * 200_001), "has too many annotations of a picture"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_ANNOTATION)
def test_a_bad_annotation_is_one_line_and_allocates_nothing(tmp_path: Path, name: str) -> None:
    content, expected = BAD_ANNOTATION[name]
    assert expected in fault(tmp_path / "m.json", content)


BOMB = (
    '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">'
    '<!ENTITY c SYSTEM "/etc/hostname">]>'
)
BAD_XML = {
    "entities": (cvat(CVAT_BOX, name="&c;", head=BOMB), "has a document type declaration"),
    "voc": ("<annotation><object/></annotation>", "is Pascal VOC, not CVAT's; export CVAT for"),
    "html": ("<html></html>", "is XML, not CVAT's"),
    "cut": (cvat(CVAT_BOX)[:-20], "is not XML; export it from CVAT again"),
    "deep": ("<annotations>" + "<a>" * 100_000, "is not XML"),
    "video": ("<annotations><track><box/></track></annotations>", "is CVAT for video; export"),
    "none": ("<annotations></annotations>", "annotates no picture"),
    "polyline": (cvat('<polyline points="1,1;2,2"/>'), "is a shape without an area (polyline)"),
    "missing": (cvat('<box xtl="1"/>'), "annotation 1: cannot be read"),
    "nan": (cvat('<box xtl="nan" ytl="1" xbr="2" ybr="2"/>'), "is not a number"),
    "counts": (cvat(CVAT_MASK.replace("rle=", 'rle="9" a=')), "has a damaged run-length mask"),
    "over the edge": (cvat(CVAT_MASK.replace('left="20"', 'left="60"')), "reaches over the edge"),
    "huge": (
        cvat('<mask rle="1" left="0" top="0" width="999999999" height="999999999"/>'),
        "has a mask of 999999999×999999999 pixels",
    ),
    "empty": (cvat(), "has no annotation of its image photo.jpg"),
    "size": (cvat(CVAT_BOX, size='width="-9" height="many"'), "has a coordinate or size that is"),
}


@pytest.mark.parametrize("name", BAD_XML)
def test_a_bad_xml_file_is_one_line(tmp_path: Path, name: str) -> None:
    content, expected = BAD_XML[name]
    assert expected in fault(tmp_path / "m.xml", content)


def test_a_bad_csv_file_is_one_line(tmp_path: Path) -> None:
    assert "has no columns filename and region_shape_att" in fault(tmp_path / "m.csv", "a,b\n1,2\n")
    assert "annotates no picture" in fault(tmp_path / "m.csv", CSV_HEAD)
    broken = CSV_HEAD + csv_row("photo.jpg", VIA_RECT).replace("{", "[")
    assert "annotation 1: cannot be read" in fault(tmp_path / "m.csv", broken)
    assert fault(tmp_path / "m.csv", CSV_HEAD + csv_row("photo.jpg", {}, 0)).startswith(
        "has no ann"
    )


def test_the_same_name_twice_in_an_object_is_refused(tmp_path: Path) -> None:
    text = '{"annotations": [{"bbox": [1, 1, 5, 5], "bbox": [9, 9, 5, 5]}]}'
    assert "has the same name twice" in fault(tmp_path / "m.json", text)


def test_an_unknown_file_is_told_what_can_be_read(tmp_path: Path) -> None:
    for content in ({"labels": []}, [1], "null", {"annotations": {}}, {"a": {"b": 1}}):
        assert "is neither LabelMe, COCO, VGG Image Annotator nor" in fault(
            tmp_path / "m.json", content
        )


MANY: dict[str, Callable[[list[str]], tuple[str, Any]]] = {
    "coco": lambda names: ("m.json", {
        "images": [{"id": i, "file_name": name} for i, name in enumerate(names)],
        "annotations": [3, *(
            {"image_id": str(i), "bbox": [30, 20, 30, 24] if i == 0 else ["broken"]}
            for i, _ in enumerate(names)
        )],
    }),
    "via": lambda names: ("m.json", {
        key: value for i, name in enumerate(names)
        for key, value in via(VIA_RECT if i == 0 else {"name": "point"}, name=name).items()
    }),
    "via csv": lambda names: ("m.csv", CSV_HEAD + "".join(
        csv_row(name, VIA_RECT if i == 0 else "broken") for i, name in enumerate(names)
    )),
    "label studio": lambda names: ("m.json", [
        task(PERCENT if i == 0 else {"points": 3}, name=name) for i, name in enumerate(names)
    ]),
    "cvat": lambda names: ("m.xml", "<annotations>" + "".join(
        f'<image name="{name}" width="{W}" height="{H}">{CVAT_BOX if i == 0 else "<points/>"}'
        "</image>" for i, name in enumerate(names)
    ) + "</annotations>"),
}  # fmt: skip


@pytest.mark.parametrize("kind", MANY)
def test_of_several_pictures_only_the_photographs_is_read_and_kept(
    tmp_path: Path, kind: str
) -> None:
    file, content = MANY[kind](["photo &amp; I.jpg".replace("&amp; ", ""), "b.jpg", "c.jpg"])
    assert overlap(read(tmp_path / file, content, "photo I.jpg"), BOX) > 0.88
    ending, text = annotations_of_photograph(tmp_path / file, Path("photo I.jpg")) or ("", "")
    part = tmp_path / f"part{ending}"
    assert overlap(read(part, text, "original_image.jpg"), BOX) > 0.88 and "b.jpg" not in text
    assert annotations_of_photograph(part, Path("original_image.jpg")) is None
    assert "named like other.jpg; export only one" in fault(tmp_path / file, content, "other.jpg")
    # The fault of another picture is its own.
    assert "of " in fault(tmp_path / file, content, "b.jpg")


ACCENT = unicodedata.normalize("NFC", "Café é.jpg")


@pytest.mark.parametrize(
    "name",
    [
        ACCENT,
        unicodedata.normalize("NFD", ACCENT),
        f"train/{ACCENT}",
        f"D:\\train\\{unicodedata.normalize('NFD', ACCENT)}",
        "Café é.PNG",
        "CAFÉ É.JPG",
    ],
)
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_picture_is_found_by_the_name_that_is_displayed(
    tmp_path: Path, name: str, form: Any
) -> None:
    photograph = unicodedata.normalize(form, ACCENT)
    for kind in ("coco", "via", "label studio", "cvat"):
        file, content = MANY[kind]([name, "b.jpg", "Cafe e.jpg"])
        assert overlap(read(tmp_path / file, content, photograph), BOX) > 0.88


@pytest.mark.parametrize(
    "address",
    [
        "https://a.org/x/my%20photo.jpg?X-Key=a%2Fb",
        "/data/local-files/?d=x/my photo.jpg",
        "/data/upload/1/0a1b2c3d-my photo.jpg",
        "s3://bucket/my photo.jpg",
    ],
)
def test_label_studios_addresses_name_the_picture(tmp_path: Path, address: str) -> None:
    tasks = [task(PERCENT), task({"points": []})]
    tasks[0]["data"] = {"title": "a/b", "image": address}
    assert overlap(read(tmp_path / "m.json", tasks, "my photo.jpg"), BOX) > 0.88


def test_cancelled_annotations_and_predictions_are_not_used(tmp_path: Path) -> None:
    content = task(PERCENT)
    whole = {"value": {"x": 0, "y": 0, "width": 100, "height": 100}}
    content["annotations"].append({"was_cancelled": True, "result": [whole]})
    assert overlap(read(tmp_path / "m.json", content), BOX) > 0.88


def test_images_that_share_an_id_are_not_used_but_others_are(tmp_path: Path) -> None:
    content = coco({"bbox": [30, 20, 30, 24]})
    content["images"] += [{"id": 2, "file_name": "b.jpg"}, {"id": "2", "file_name": "c.jpg"}]
    content["annotations"].append({"image_id": 2, "bbox": [1, 1, 5, 5]})
    assert overlap(read(tmp_path / "m.json", content), BOX) > 0.88
    assert "has several images with the id of c.jpg" in fault(tmp_path / "m.json", content, "c.jpg")
    with pytest.raises(UserError, match="several images with the id"):
        annotations_of_photograph(tmp_path / "m.json", Path("c.jpg"))


def test_a_name_in_xml_stays_the_name(tmp_path: Path) -> None:
    name = "a&amp;b &lt;&quot;c&quot;&gt;.jpg"
    text = cvat(CVAT_BOX, name=name).replace("</annotations>", '<image name="b"/></annotations>')
    read(tmp_path / "m.xml", text, 'a&b <"c">.jpg')
    ending, part = annotations_of_photograph(tmp_path / "m.xml", Path('a&b <"c">.jpg')) or ("", "")
    assert ending == ".xml" and name.replace("&quot;", '"') in part.replace("&quot;", '"')
    assert overlap(read(tmp_path / "part.xml", part, "x.jpg"), BOX) > 0.88
