"""Camera raws are told by content and refused; ordinary TIFFs of every kind are not."""

from __future__ import annotations

import io
import struct
import time
from contextlib import suppress
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from editinfinity.cli import app
from editinfinity.errors import UserError
from editinfinity.files.camera_raw import refuse_camera_files
from editinfinity.files.images import read_image
from editinfinity.files.masks import read_mask
from editinfinity.files.opening import open_small, size_upright

KIND, OLD_KIND, WIDTH, HEIGHT, PHOTOMETRIC, SUB_IFDS, DNG = 254, 255, 256, 257, 262, 330, 50706
CFA, LINEAR, RGB = 32803, 34892, 2
PICTURE = (160, 120)

Tags = dict[int, int]


def tiff(
    chain: list[Tags], inside: list[Tags] | None = None, order: str = "<", big: bool = False
) -> bytes:
    """A TIFF of directories in a chain, and others inside the first; every picture is grey."""
    number, count, size = ("Q", "Q", 20) if big else ("I", "H", 12)
    mark = b"II" if order == "<" else b"MM"
    first = 16 if big else 8
    version = struct.pack(order + "HHH", 43, 8, 0) if big else struct.pack(order + "H", 42)
    data = bytearray(mark + version + struct.pack(order + number, first))
    inside = inside or []
    directories = [*chain, *inside]
    lengths = [
        struct.calcsize(order + count + number) + size * (len({PHOTOMETRIC, *tags}) + 4)
        for tags in directories
    ]
    lengths[0] += size * bool(inside)
    places = [first + sum(lengths[:at]) for at in range(len(lengths))]
    array = first + sum(lengths)
    pixels = array + struct.calcsize(number) * len(inside)
    for at, tags in enumerate(directories):
        planes = 3 if tags.get(PHOTOMETRIC) == RGB else 1
        values = {
            PHOTOMETRIC: ("H", 1), **{tag: ("I", value) for tag, value in tags.items()},
            258: ("H", 8), 277: ("H", planes), 273: ("I", pixels),
            279: ("I", tags[WIDTH] * tags[HEIGHT] * planes),
        }  # fmt: skip
        if at == 0 and inside:
            values[SUB_IFDS] = (number, places[-1] if len(inside) == 1 else array)
        data += struct.pack(order + count, len(values))
        for tag, (letter, value) in sorted(values.items()):
            kind, many = {"H": 3, "I": 4, "Q": 16}[letter], 1
            if tag == SUB_IFDS:
                many, letter = len(inside), number
            field = struct.pack(order + letter, value).ljust(8 if big else 4, b"\0")
            data += struct.pack(order + "HH" + number, tag, kind, many) + field
        following = places[at + 1] if at + 1 < len(chain) else 0
        data += struct.pack(order + number, following)
    assert len(data) == array, "a length is wrong"
    data += b"".join(struct.pack(order + number, place) for place in places[len(chain) :])
    return bytes(data) + bytes(3 * PICTURE[0] * PICTURE[1])


def of(width: int, height: int, **tags: int) -> Tags:
    names = {"kind": KIND, "photometric": PHOTOMETRIC, "dng": DNG}
    return {WIDTH: width, HEIGHT: height, **{names[name]: value for name, value in tags.items()}}


THUMBNAIL = of(160, 120, kind=1, photometric=RGB)
MAIN = of(160, 120, photometric=RGB)

RAWS = {
    "its sensor inside, small": tiff([THUMBNAIL], [of(120, 80, photometric=CFA)]),
    "its sensor inside": tiff([THUMBNAIL], [of(4000, 3000, photometric=CFA)]),
    "its sensor first": tiff([of(4000, 3000, photometric=CFA)]),
    "its sensor in the chain": tiff([MAIN, of(4000, 3000, photometric=CFA)]),
    "its sensor inside, second": tiff([MAIN], [of(8, 8), of(4000, 3000, photometric=CFA)]),
    "linear": tiff([THUMBNAIL], [of(4000, 3000, photometric=LINEAR)]),
    "DNG": tiff([of(160, 120, photometric=RGB, dng=1)]),
    "big-endian": tiff([THUMBNAIL], [of(120, 80, photometric=CFA)], ">"),
    "BigTIFF": tiff([THUMBNAIL], [of(120, 80, photometric=CFA)], big=True),
    "BigTIFF, big-endian": tiff([MAIN, of(120, 80, photometric=CFA)], None, ">", True),
    "BigTIFF, two inside": tiff([MAIN], [of(8, 8), of(9, 9, photometric=CFA)], big=True),
    "CR2": b"II*\0\x10\0\0\0CR\x02\0" + bytes(4000),
    "IIQ": b"II*\0\x40\0\0\0IIIITwaR" + bytes(4000),
    "RAF": b"FUJIFILMCCD-RAW 0201FF129502" + bytes(4000),
    "CR3": b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom" + bytes(4000),
    "RW2": b"IIU\0\x18\0\0\0" + bytes(4000),
    "ORF": b"IIRO\x08\0\0\0" + bytes(4000),
    "ORF, old": b"MMOR\0\0\0\x08" + bytes(4000),
    "X3F": b"FOVb" + bytes(4000),
    "MRW": b"\0MRM" + bytes(4000),
    "CRW": b"II\x1a\0\0\0HEAPCCDR" + bytes(4000),
}


@pytest.mark.parametrize("name", RAWS)
@pytest.mark.parametrize("ending", ["NEF", "tif", "jpg"])
def test_raws_are_refused_with_the_cure(tmp_path: Path, name: str, ending: str) -> None:
    path = tmp_path / f"photo.{ending}"
    path.write_bytes(RAWS[name])
    for look in (read_image, size_upright, lambda p: open_small(p, 64)):
        with pytest.raises(UserError) as fault:
            look(path)
        assert str(fault.value) == (
            f"{path}: is an unsupported camera raw file; "
            "export it as TIFF or JPEG from your raw converter"
        )


@pytest.mark.parametrize(
    "data",
    [
        tiff([THUMBNAIL], [of(320, 240, photometric=RGB)]),
        tiff([THUMBNAIL, of(320, 240, photometric=RGB)]),
        tiff([{**THUMBNAIL, KIND: 0, OLD_KIND: 2}, of(320, 240, photometric=RGB)]),
    ],
)
def test_a_thumbnail_before_its_picture_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "scan.tif").write_bytes(data)
    with pytest.raises(
        UserError, match=r"scan\.tif: is a TIFF that begins with a thumbnail.*; exp"
    ):
        read_image(tmp_path / "scan.tif")


@pytest.mark.parametrize(
    "data",
    [
        tiff([MAIN]),
        tiff([MAIN], order=">"),
        tiff([MAIN], big=True),
        tiff([MAIN, of(80, 60, kind=1, photometric=RGB), of(40, 30, kind=1, photometric=RGB)]),
        tiff([MAIN], [of(80, 60, kind=1, photometric=RGB), of(40, 30, kind=1, photometric=RGB)]),
        tiff([MAIN, of(320, 240, photometric=RGB)]),
        tiff([THUMBNAIL]),
        tiff([THUMBNAIL], [of(40, 30, kind=1)]),
    ],
    ids=["one", "big-endian", "BigTIFF", "pyramid", "inner pyramid", "pages", "alone", "smaller"],
)
def test_ordinary_tiffs_are_read(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "photo.tif").write_bytes(data)
    assert read_image(tmp_path / "photo.tif").size == PICTURE


def test_a_hundred_pages_are_read(tmp_path: Path) -> None:
    pages = [Image.new("RGB", (32, 32), (value, 0, 0)) for value in range(100)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    assert read_image(tmp_path / "pages.tif").getpixel((0, 0)) == (0, 0, 0)


@pytest.mark.parametrize(
    "data",
    [
        b"II*\0",
        b"II*\0\xff\xff\xff\xff",
        b"II+\0\x08\0\0\0" + b"\xff" * 8,
        b"II*\0\x08\0\0\0" + b"\xff" * 100,
        b"II+\0\x08\0\0\0\x10" + bytes(7) + b"\xff" * 100,
        # Directories that follow and hold themselves.
        b"II*\0\x08\0\0\0" + struct.pack("<HHHIII", 1, 330, 4, 1, 8, 8),
        b"II*\0\x08\0\0\0" + struct.pack("<HHHIII", 1, 330, 4, 2**32 - 1, 8, 8),
    ],
)
def test_hostile_directories_cost_nothing(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "photo.tif"
    path.write_bytes(data)
    with path.open("r+b") as file:
        file.truncate(2**29)
    began = time.perf_counter()
    with suppress(UserError):
        refuse_camera_files(path)
    assert time.perf_counter() - began < 0.5
    with pytest.raises(UserError, match=r"photo\.tif: is "):
        read_image(path)
    assert time.perf_counter() - began < 10


def test_an_avif_that_says_it_is_a_general_one_first_is_no_heic(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    try:
        Image.new("RGB", (32, 32)).save(buffer, "AVIF")
    except (KeyError, OSError, ValueError):
        pytest.skip("this Pillow writes no AVIF")
    data = buffer.getvalue()
    (tmp_path / "photo.avif").write_bytes(data[:8] + b"mif1" + data[12:])
    assert read_image(tmp_path / "photo.avif").size == (32, 32)


def test_a_raw_enters_neither_as_a_mask_nor_by_a_command(tmp_path: Path) -> None:
    raw, photo = tmp_path / "raw.tif", tmp_path / "photo.png"
    raw.write_bytes(RAWS["DNG"])
    Image.new("RGB", PICTURE).save(photo)
    with pytest.raises(UserError, match="camera raw"):
        read_mask(raw, (120, 160))
    data = ["--data", str(tmp_path / "data")]
    for arguments in (
        ["new", "a", str(raw), "--prompt", "a cat", *data],
        ["new", "a", str(photo), "--mask", str(raw), "--prompt", "a cat", *data],
        ["preview", str(raw), "--box", "0,0,9,9"],
        ["preview", str(photo), "--mask", str(raw)],
    ):
        told = CliRunner().invoke(app, arguments).exception
        assert isinstance(told, UserError)
        assert "raw.tif: is an unsupported camera raw file" in str(told)
    assert not (tmp_path / "data" / "a" / "image" / "original_image.tif").exists()
