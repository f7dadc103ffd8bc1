"""Masks as people have them: alpha, polygons, boxes, grown ones."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageFilter

from editinfinity.errors import UserError
from editinfinity.files.masks import mask_of_picture, read_mask
from editinfinity.files.preview import mask_preview
from editinfinity.settings.groups import MASK_REGIONS

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


def voc(values: np.ndarray) -> Image.Image:
    """A picture with PASCAL VOC's palette."""
    palette = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0, 0, 0, 128] + [0] * 750 + [224, 224, 192]
    palette[45:48] = [192, 128, 128]
    picture = Image.fromarray(values.astype(np.uint8)).convert("P")
    picture.putdata(values.ravel().tolist())
    picture.putpalette(palette)
    return picture


def drawn(inside: object, outside: object, dtype: type = np.uint8) -> Image.Image:
    return Image.fromarray(np.where(square(), inside, outside).astype(dtype))


def coloured(inside: tuple[int, ...], outside: tuple[int, ...]) -> Image.Image:
    return Image.fromarray(np.where(square()[..., None], inside, outside).astype(np.uint8))


PERSON = np.where(square(), 15, 0)
LIT: dict[str, Image.Image] = {
    "0 and 1": drawn(1, 0),
    "16 bits, 0 and 1": drawn(1, 0, np.uint16),
    "16 bits, 0 and 255": drawn(255, 0, np.uint16),
    "12 bits": drawn(4095, 0, np.uint16),
    "16 bits": drawn(65535, 0, np.uint16),
    "32 bits": drawn(1, 0, np.int32),
    "floats": drawn(1, 0, np.float32),
    "floats to 2": drawn(2, 0, np.float32),
    "1 bit": Image.fromarray(square()),
    "dark grey": drawn(60, 0),
    "voc": voc(PERSON),
    "voc, dark": voc(np.where(square(), 1, 0)),
    "indices": drawn(1, 0).convert("P"),
    "white": drawn(255, 0),
    "cmyk": drawn(255, 0).convert("RGB").convert("CMYK"),
    "red on black": coloured((255, 0, 0), (0, 0, 0)),
    "opaque": coloured((255, 255, 255, 255), (0, 0, 0, 255)),
}


@pytest.mark.parametrize("kind", LIT)
def test_an_object_is_marked_however_programs_write_it(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "m.tif"
    if LIT[kind].mode == "P":  # a TIFF has no palette of fewer than 256 colours
        path = tmp_path / "m.png"
    LIT[kind].save(path)
    notices: list[str] = []
    assert (read_mask(path, SIZE, "white", notices=notices) == square()).all()
    assert notices == []
    assert (read_mask(path, SIZE, "black", notices=notices) == ~square()).all()
    (line,) = notices
    assert line == (
        f"{path}: marks 92% of the picture as edited (black is edited); if that is the part to "
        "keep, set mask_edit_region: white"
    )


def test_the_border_of_voc_is_never_edited(tmp_path: Path) -> None:
    values = np.where(square(), 15, 0)
    values[18:20, 10:30] = 255
    voc(values).save(tmp_path / "m.png")
    assert (read_mask(tmp_path / "m.png", SIZE, "white") == square()).all()
    assert (read_mask(tmp_path / "m.png", SIZE) == (values == 0)).all()


@pytest.mark.parametrize("write", [Image.fromarray, voc])
def test_several_labels_are_told(tmp_path: Path, write: Callable[..., Image.Image]) -> None:
    values = np.where(square(), 1, 0).astype(np.uint8)
    values[:10, :10] = 2
    write(values).save(tmp_path / "m.png")
    notices: list[str] = []
    assert (read_mask(tmp_path / "m.png", SIZE, "white", notices=notices) == (values > 0)).all()
    assert notices == [f"{tmp_path}/m.png: has several labels (1, 2), which are all read as white"]
    read_mask(tmp_path / "m.png", SIZE, notices=notices)
    assert notices[1] == notices[0] and notices[2].endswith("set mask_edit_region: white")


COLOURS = np.random.default_rng(1).integers(0, 255, (6, 8, 3)).astype(np.uint8)
PHOTOGRAPH = Image.fromarray(COLOURS).resize(SIZE[::-1], Image.Resampling.BICUBIC)


def with_alpha(picture: Image.Image, alpha: np.ndarray) -> Image.Image:
    copy = picture.copy()
    copy.putalpha(Image.fromarray(np.where(alpha, 255, 0).astype(np.uint8)))
    return copy


BLACK, WHITE = (Image.new("RGB", SIZE[::-1], colour) for colour in ("black", "white"))
WIDE = np.indices(SIZE)[1] < 49  # 61 % of the picture
HALVES = Image.fromarray(np.where(WIDE, 255, 0).astype(np.uint8)).convert("RGB")
MARKED = PHOTOGRAPH.copy()
MARKED.paste((255, 0, 0), (10, 20, 30, 40))
LABELS = np.indices(SIZE)[1] // 10 * 20
DOUBTFUL: dict[str, tuple[Image.Image, str | None, str]] = {
    "hole": (with_alpha(PHOTOGRAPH, ~square()), "transparent", "looks like a photograph"),
    "cut out": (with_alpha(PHOTOGRAPH, square()), "opaque", "looks like a photograph"),
    "hole in black": (with_alpha(BLACK, ~square()), "transparent", "marks 92% of the picture"),
    "hole in white": (with_alpha(WHITE, ~square()), "transparent", "marks nothing"),
    "hole in both": (with_alpha(HALVES, ~square()), "transparent", "has black, white and transp"),
    "white cut out": (with_alpha(WHITE, square()), "white", "marks nothing"),
    "wide black": (Image.fromarray(~WIDE), "white", "marks 61% of the picture"),
    "black": (BLACK, None, "marks everything"),
    "white": (WHITE, None, "marks nothing"),
    "transparent": (with_alpha(WHITE, WIDE & False), None, "marks nothing"),
    "photograph": (PHOTOGRAPH, None, "looks like a photograph"),
    "red on it": (MARKED, None, "looks like a photograph"),
    "voc in grey": (Image.fromarray(np.where(WIDE, 255, LABELS // 20).astype(np.uint8)), None,
                    "has the values 4, 5, 6, 7, 255, like a map of labels"),
    "many labels": (Image.fromarray(LABELS.astype(np.uint8)), None, "has the values 0, 20, 40"),
}  # fmt: skip


@pytest.mark.parametrize("kind", DOUBTFUL)
def test_a_mask_that_was_meant_otherwise_is_told_with_a_cure_that_works(
    tmp_path: Path, kind: str
) -> None:
    picture, cure, said = DOUBTFUL[kind]
    picture.save(tmp_path / "m.png")
    notices: list[str] = []
    read_mask(tmp_path / "m.png", SIZE, notices=notices)
    (line,) = notices
    assert line.startswith(f"{tmp_path}/m.png: {said}") and "; " in line
    assert line.endswith(f"set mask_edit_region: {cure}") == (cure is not None)

    # Advice never leads to other advice, whatever one starts with.
    for region in MASK_REGIONS:
        advised, steps = region, 0
        while advised:
            notices.clear()
            try:
                read_mask(tmp_path / "m.png", SIZE, advised, notices=notices)
            except UserError:
                break
            found = re.search(r"mask_edit_region: (\w+)", "".join(notices))
            advised, steps = found[1] if found else "", steps + 1
            assert steps <= 2, notices


@pytest.mark.parametrize(
    ("region", "rest"),
    [("black", "white"), ("white", "black"), ("transparent", "opaque"), ("opaque", "transparent")],
)
def test_a_mask_of_one_kind_is_told_how_to_draw_it(region: str, rest: str) -> None:
    notices: list[str] = []
    mask_of_picture(with_alpha(WHITE, WIDE | True), SIZE, region, "m.png", notices)
    (line,) = notices
    assert line.endswith(f"; make the part to edit {region}, and the rest {rest}")


@pytest.mark.parametrize("kind", ["jpg", "webp", "avif", "bmp", "gif", "tif"])
def test_a_mask_of_a_lossy_format_is_read_without_doubt(tmp_path: Path, kind: str) -> None:
    drawn(0, 255).convert("RGB").save(tmp_path / f"m.{kind}", quality=60)
    notices: list[str] = []
    found = read_mask(tmp_path / f"m.{kind}", SIZE, notices=notices)
    assert (overlap(found, square()), notices) == (1, [])
    soft = drawn(0, 255).filter(ImageFilter.GaussianBlur(2)).convert("RGB")
    soft.save(tmp_path / f"m.{kind}")
    assert overlap(read_mask(tmp_path / f"m.{kind}", SIZE, notices=notices), square()) > 0.9
    assert notices == []


def test_a_mask_turned_like_its_photograph_fits(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    turned = drawn(0, 255).transpose(Image.Transpose.ROTATE_90)
    turned.save(tmp_path / "m.png", exif=exif)
    assert (read_mask(tmp_path / "m.png", SIZE) == square()).all()
    turned.save(tmp_path / "n.png")
    with pytest.raises(UserError, match=r"n\.png: is 60×80 .* is 80×60; turn it upright too"):
        read_mask(tmp_path / "n.png", SIZE)


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
