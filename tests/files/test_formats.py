"""Every format that can be opened: upright once, told when a package is missing, written again."""

from __future__ import annotations

import importlib
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from editinfinity.errors import UserError
from editinfinity.files import formats
from editinfinity.files.formats import ENDINGS, IMAGE_ENDINGS
from editinfinity.files.images import read_image
from editinfinity.files.masks import read_mask
from editinfinity.files.opening import open_picture, size_upright
from editinfinity.files.photograph import read_photograph
from editinfinity.files.writing import FORMATS, read_settings, require_writable_as, write_photograph
from tests.files.profiles import swapped_profile

SIZE = (96, 64)
HEIC = b"\0\0\0\x18ftyp" + b"heic\0\0\0\0mif1heic" + bytes(100)
JPEG_XL = b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(100)


def picture() -> Image.Image:
    """A dark picture whose top left corner is bright."""
    image = Image.new("RGB", SIZE, (20, 30, 40))
    image.paste((230, 220, 210), (0, 0, 32, 24))
    return image


def save(path: Path, image: Image.Image, **options: object) -> None:
    """Save with the package that the format needs; skip where it is not installed."""
    if path.suffix in (".heic", ".jxl"):
        module = pytest.importorskip("pillow_heif" if path.suffix == ".heic" else "pillow_jxl")
        if path.suffix == ".heic":
            module.register_heif_opener()
    image.save(path, **options)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.jpg", {}), ("a.jfif", {}), ("a.png", {}), ("a.webp", {}), ("a.avif", {}),
        ("a.tif", {}), ("a.tif", {"compression": "tiff_lzw"}), ("a.tif", {"compression": "jpeg"}),
        ("a.heic", {}),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("orientation", [*range(10), 65535])
def test_a_picture_is_turned_once_and_its_size_agrees(
    tmp_path: Path, name: str, options: dict, orientation: int
) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    if options and not 1 <= orientation <= 8:
        pytest.skip("libtiff refuses to write it")
    path = tmp_path / name
    save(path, picture(), exif=exif if path.suffix == ".tif" else exif.tobytes(), **options)
    seen, photograph = open_picture(path), read_photograph(path)
    assert (seen.height, seen.width) == size_upright(path) == photograph.size
    assert (seen.size == SIZE[::-1]) == (5 <= orientation <= 8)
    right = orientation in (2, 3, 6, 7)
    bottom = orientation in (3, 4, 7, 8)
    corner = (seen.width - 8 if right else 8, seen.height - 8 if bottom else 8)
    assert min(seen.convert("RGB").getpixel(corner)) > 150
    write_photograph(tmp_path / f"out{path.suffix}", photograph, "{}", like=path)
    assert size_upright(tmp_path / f"out{path.suffix}") == photograph.size


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_a_box_lies_where_it_is_drawn_on_a_turned_tiff(
    tmp_path: Path, compression: str | None
) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    picture().save(tmp_path / "turned.tif", exif=exif, compression=compression)
    (tmp_path / "mask.txt").write_text("40,70,20,20")
    mask = read_mask(tmp_path / "mask.txt", size_upright(tmp_path / "turned.tif"))
    assert mask.shape == (96, 64) and mask[70:90, 40:60].all() and mask.sum() == 400


@pytest.mark.parametrize("ending", IMAGE_ENDINGS)
def test_each_ending_opens(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"photo{ending}"
    format_ = next(format_ for format_, endings in ENDINGS.items() if ending in endings)
    if format_ in ("HEIF", "JXL"):
        save(tmp_path / f"photo{'.heic' if format_ == 'HEIF' else '.jxl'}", picture())
        (tmp_path / f"photo{'.heic' if format_ == 'HEIF' else '.jxl'}").rename(path)
    else:
        picture().save(path, format_)
    assert read_image(path).size == SIZE
    assert read_photograph(path).warnings == ()


@pytest.mark.parametrize(
    ("data", "name", "extra"), [(HEIC, "HEIC", "heif"), (JPEG_XL, "JPEG XL", "jxl")]
)
def test_a_missing_package_is_named_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, name: str, extra: str
) -> None:
    def missing(module: str) -> None:
        raise ModuleNotFoundError(module)

    monkeypatch.setattr(formats.importlib, "import_module", missing)
    path = tmp_path / "IMG_1.jpg"  # the ending says nothing
    path.write_bytes(data)
    for look in (read_image, size_upright, read_photograph):
        with pytest.raises(UserError) as told:
            look(path)
        assert str(told.value) == (
            f"{path}: is a {name} picture, which needs another package; run: "
            f"pip install 'editinfinity[{extra}]', or save it as JPEG or PNG"
        )


def test_an_output_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_writable_as(tmp_path / "a.png", (20_000, 20_000))
    with pytest.raises(UserError, match="WEBP has at most 16383 pixels a side; choose"):
        require_writable_as(tmp_path / "a.webp", (100, 16_384))
    with pytest.raises(UserError, match=r"choose .png or .tif$"):  # not what is too small too
        require_writable_as(tmp_path / "a.jpg", (100, 65_501))
    with pytest.raises(UserError, match="cannot be written in that format"):
        require_writable_as(tmp_path / "a.bmp", (100, 100))
    monkeypatch.setattr(
        importlib, "import_module", lambda module: (_ for _ in ()).throw(ImportError(module))
    )
    with pytest.raises(UserError, match=r"pip install 'editinfinity\[heif\]'"):
        require_writable_as(tmp_path / "a.heic", (100, 100))


@pytest.mark.parametrize("data", [HEIC, JPEG_XL, JPEG_XL[:12], b"\xff\x0a", b"\xff\x0a" + bytes(9)])
def test_damaged_files_of_these_formats_are_told(tmp_path: Path, data: bytes) -> None:
    pytest.importorskip("pillow_heif")
    pytest.importorskip("pillow_jxl")
    path = tmp_path / "photo.heic"
    path.write_bytes(data)
    for look in (read_image, size_upright):
        with pytest.raises(UserError, match=r"photo\.heic: is damaged or incomplete \(.*; copy"):
            look(path)


def test_heic_is_written_as_heic_with_its_metadata(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Maker"
    source, made = tmp_path / "in.heic", tmp_path / "out.heic"
    profile = swapped_profile()
    save(source, picture(), exif=exif.tobytes(), icc_profile=profile, quality=95)
    photograph = read_photograph(source)
    write_photograph(made, photograph, '{"seed": 1}', like=source)
    first = made.read_bytes()
    write_photograph(made, photograph, '{"seed": 1}', like=source)
    assert made.read_bytes() == first
    with Image.open(made) as image:
        assert image.format == "HEIF" and image.info["icc_profile"] == profile
        assert image.getexif()[ExifTags.Base.Make] == "Maker"
    assert read_settings(made) == '{"seed": 1}'
    change = np.abs(np.asarray(read_image(made), int) - np.asarray(picture(), int))
    assert change.mean() < 4
    assert read_photograph(made).warnings == ()


@pytest.mark.parametrize(
    "size", [(96, 64), (256, 256), (257, 31), (160, 90), (1000, 24), (400, 300), (240, 160)]
)
def test_jpeg_xl_is_turned_by_its_decoder(tmp_path: Path, size: tuple[int, int]) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # says how it was stored before
    path = tmp_path / "a.jxl"
    for options in ({}, {"exif": exif.tobytes()}):  # a bare codestream, and one in a box
        save(path, picture().resize(size), **options)
        assert open_picture(path).size == size
        assert size_upright(path) == size[::-1] == read_photograph(path).size


def test_a_small_jpeg_xl_of_a_huge_picture_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = pytest.importorskip("pillow_jxl")

    def decode(*_: object, **__: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(plugin.JpegXLImagePlugin, "Decoder", decode)
    bits = 0 | 3 << 1 | (2**30 - 1) << 3 | 1 << 33  # not small, 30 bits, 2^30 high, as wide as high
    codestream = b"\xff\x0a" + bits.to_bytes(16, "little")
    boxed = b"\0\0\0\x0cJXL \r\n\x87\n" + struct.pack(">I4s", 0, b"jxlc") + codestream
    for data in (codestream, boxed):
        (tmp_path / "a.jxl").write_bytes(data)
        with pytest.raises(UserError, match="has more than 178 million pixels"):
            size_upright(tmp_path / "a.jxl")


def test_what_is_written_can_be_read() -> None:
    assert set(FORMATS) <= set(IMAGE_ENDINGS)


def test_the_page_lists_the_endings_and_what_is_written() -> None:
    page = (Path(__file__).parents[2] / "docs" / "photographs.md").read_text()
    table = page[: page.index("**Camera raws**")]
    rows = re.findall(r"^\| (\S.*?) \| (`\..*?) \| (\S+)", table, re.MULTILINE)
    endings = [re.findall(r"`(\.\w+)`", cell) for _, cell, _ in rows]
    assert [tuple(cell) for cell in endings] == list(ENDINGS.values())
    for (_, _, written), (first, *_) in zip(rows, endings, strict=True):
        name = written.strip(",;").upper().replace("HEIC", "HEIF")
        assert FORMATS.get(first, "PNG") == name
