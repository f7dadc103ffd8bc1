"""What a file contains beside its picture: told and left out if lost, kept if it is true."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from editinfinity.files.lost_parts import lost_parts
from editinfinity.files.metadata import Metadata, with_settings
from editinfinity.files.photograph import Photograph, read_photograph
from editinfinity.files.writing import read_settings, write_photograph
from editinfinity.files.xmp import MAX_XMP_BYTES, without_lost_parts

SIZE = (96, 64)
TARGETS = [".jpg", ".png", ".webp", ".tif", ".avif"]


def picture(seed: int = 0, size: tuple[int, int] = SIZE) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize(size)


def frames(count: int = 3) -> dict:
    return {"save_all": True, "append_images": [picture(seed) for seed in range(1, count)]}


ANIMATION = "is an animation; only its first frame is used"
PAGES = "has several pages; only the first is used"


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("a.gif", {**frames(), "duration": 80}, ANIMATION),
        ("a.gif", frames(), ANIMATION),
        ("a.webp", {**frames(), "duration": 80}, ANIMATION),
        ("a.png", {**frames(), "duration": 80}, ANIMATION),
        ("a.avif", {**frames(), "duration": 80}, ANIMATION),
        ("a.tif", frames(), PAGES),
        ("a.gif", {}, None),
        ("a.webp", {}, None),
        ("a.avif", {}, None),
        ("a.tif", {}, None),
        ("a.mpo", {}, None),
        ("a.tif", {"save_all": True, "append_images": [picture(1, (48, 32))]}, None),
        ("a.tif", {"save_all": True, "append_images": [picture(1, (48, 48))]}, PAGES),
    ],
)
def test_only_the_first_frame_is_used_and_told(
    tmp_path: Path, name: str, options: dict, told: str | None
) -> None:
    path = tmp_path / name
    picture().save(path, **options)
    assert lost_parts(path) == ([] if told is None else [f"{path}: {told}"])
    seen = np.asarray(read_photograph(path).pixels, dtype=int)
    assert np.abs(seen - np.asarray(picture(), int)).mean() < 25


@pytest.mark.parametrize(("flag", "told"), [(1, False), (4, False), (2, True)])
def test_flagged_pages_of_a_tiff(tmp_path: Path, flag: int, told: bool) -> None:
    other = picture(1)
    other.encoderinfo = {"tiffinfo": {254: flag}}
    picture().save(tmp_path / "a.tif", save_all=True, append_images=[other])
    assert bool(lost_parts(tmp_path / "a.tif")) == told


@pytest.mark.parametrize(
    ("kind", "told"), [(0x020002, True), (0x020003, True), (0, False), (0x010001, False)]
)
def test_second_pictures_of_an_mpo(tmp_path: Path, kind: int, told: bool) -> None:
    picture().save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[picture(1)])
    data = (tmp_path / "a.jpg").read_bytes()
    entries = data.index(b"\x02\xb0", data.index(b"MPF\0"))
    start = data.index((0x030000).to_bytes(4, "little"), entries)
    second = start + 16
    changed = data[:second] + kind.to_bytes(4, "little") + data[second + 4 :]
    (tmp_path / "a.jpg").write_bytes(changed)
    lines = [f"{tmp_path / 'a.jpg'}: has several pictures; only the first is used"]
    assert lost_parts(tmp_path / "a.jpg") == (lines if told else [])


XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" dc:format="kept" '
    b'xmlns:pano="http://ns.google.com/photos/1.0/panorama/" pano:Projection="kept too" '
    b'xmlns:h="http://ns.adobe.com/hdr-gain-map/1.0/" h:Version="gone" '
    b'xmlns:GCamera="http://ns.google.com/photos/1.0/camera/" GCamera:MotionPhoto="1" '
    b'xmlns:C="http://ns.google.com/photos/1.0/container/" '
    b'xmlns:I="http://ns.google.com/photos/1.0/container/item/" '
    b'xmlns:note="http://ns.adobe.com/xmp/note/" note:HasExtendedXMP="gone" '
    b'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:CreatorTool="kept as well" '
    b'xmlns:terms="http://purl.org/dc/terms/" terms:provenance="gone">'
    b"<C:Directory><rdf:Seq><rdf:li rdf:parseType='Resource'>"
    b'<C:Item I:Semantic="gone" I:Mime="a &gt; b"/></rdf:li></rdf:Seq></C:Directory>'
    b"<GCamera:MicroVideoOffset>gone</GCamera:MicroVideoOffset>"
    b"<xmp:Thumbnails><rdf:Alt><rdf:li>gone</rdf:li></rdf:Alt></xmp:Thumbnails>"
    b"</rdf:Description></rdf:RDF></x:xmpmeta>"
)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_what_describes_lost_parts_goes_with_a_line(tmp_path: Path, suffix: str) -> None:
    source = tmp_path / f"in{suffix}"
    if suffix == ".png":
        from PIL import PngImagePlugin

        text = PngImagePlugin.PngInfo()
        text.add_itxt("XML:com.adobe.xmp", XMP.decode(), zip=True)
        picture().save(source, pnginfo=text)
    else:
        tags = {"tiffinfo": {700: XMP}} if suffix == ".tif" else {"xmp": XMP}
        picture().save(source, **tags)
    photograph = read_photograph(source)
    assert photograph.warnings == (
        f"{source}: its HDR gain map and its video (motion photo) cannot be kept and will be "
        "missing in the result",
    )
    for target in TARGETS:
        write_photograph(tmp_path / f"out{target}", photograph, '{"seed": 1}')
        again = read_photograph(tmp_path / f"out{target}")
        assert again.warnings == () and again.metadata.xmp is not None
        xmp = again.metadata.xmp
        assert b'dc:format="kept"' in xmp and b"kept too" in xmp and b"kept as well" in xmp
        for word in (b"gone", b"MotionPhoto", b"gain-map", b"container", b"MicroVideo"):
            assert word not in xmp, word
        assert read_settings(tmp_path / f"out{target}") == '{"seed": 1}'


@pytest.mark.parametrize(
    "xmp",
    [
        XMP + b"<",
        b"<!DOCTYPE x [<!ENTITY a 'aaaa'>]>" + XMP,
        XMP.replace(b"<rdf:Alt>", b"<rdf:Alt>" + b"<a>" * 20_000),
        XMP.replace(b"kept too", b"k" * 1_100_000),
        b" " * (MAX_XMP_BYTES + 1),
    ],
    ids=["damaged", "entities", "deep", "long", "huge"],
)
def test_xmp_that_cannot_be_cleaned_is_left_out_with_a_line(tmp_path: Path, xmp: bytes) -> None:
    assert without_lost_parts(xmp) is None
    picture().save(tmp_path / "a.webp", xmp=xmp)
    photograph = read_photograph(tmp_path / "a.webp")
    assert photograph.metadata.xmp is None
    assert any("its XMP is too large or damaged, and is left out" in t for t in photograph.warnings)


def test_other_xmp_is_not_touched() -> None:
    for xmp in (b"<x:xmpmeta", b"<a xmlns:GPano='http://ns.google.com/photos/1.0/'"[:30], b""):
        assert without_lost_parts(xmp) == xmp


@pytest.mark.parametrize(
    ("mark", "told"),
    [
        (b"urn:iso:std:iso:ts:21496:-1\0", "HDR gain map"),
        (b"MotionPhoto_Data", "video (motion photo)"),
        (b"urn:mpeg:hevc:2015:auxid:2", "depth map"),
        (bytes.fromhex("6a756d6463327061001100108000 00aa00389b71"), "content credentials (C2PA)"),
    ],
)
def test_lost_parts_are_found_after_the_picture(tmp_path: Path, mark: bytes, told: str) -> None:
    buffer = io.BytesIO()
    picture().save(buffer, "JPEG")
    (tmp_path / "a.jpg").write_bytes(buffer.getvalue() + mark + bytes(100))
    (line,) = lost_parts(tmp_path / "a.jpg")
    assert line.startswith(f"{tmp_path / 'a.jpg'}: its {told} cannot be kept")


def exif_with(note: bytes) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Maker"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.MakerNote] = note
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2026:01:02 03:04:05"
    exif[ExifTags.IFD.Exif] = exif.get_ifd(ExifTags.IFD.Exif)
    return exif.tobytes()


@pytest.mark.parametrize(
    ("note", "kept"), [(b"Apple iOS\0\0\1MM\0\1 HDR", False), (b"Nikon\0\2 settings", True)]
)
def test_the_maker_note_of_a_gain_map_goes(tmp_path: Path, note: bytes, kept: bool) -> None:
    picture().save(tmp_path / "a.jpg", exif=exif_with(note))
    metadata = read_photograph(tmp_path / "a.jpg").metadata
    assert metadata.exif is not None and b"Maker" in metadata.exif
    assert (note in metadata.exif) == kept


def test_layers_and_storage_of_a_tiff_do_not_come_along(tmp_path: Path) -> None:
    layers = b"Adobe Photoshop Document Data Block\0" + bytes(100)
    info = {37724: layers, 254: 2, 297: (1, 3), 305: "a program"}
    picture().save(tmp_path / "a.tif", tiffinfo=info)
    photograph = read_photograph(tmp_path / "a.tif")
    assert "its Photoshop layers cannot be kept" in photograph.warnings[0]
    write_photograph(tmp_path / "out.tif", photograph)
    with Image.open(tmp_path / "out.tif") as made:
        assert made.tag_v2[305] == "a program"
        assert not {37724, 297} & set(made.tag_v2) and made.tag_v2.get(254, 0) == 0


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".bmp", ".webp"])
@pytest.mark.parametrize("target", TARGETS)
def test_the_resolution_stays(tmp_path: Path, suffix: str, target: str) -> None:
    source, made = tmp_path / f"in{suffix}", tmp_path / f"out{target}"
    options: dict = {"dpi": (300, 300)}
    if suffix == ".webp":
        exif = Image.Exif()
        exif[ExifTags.Base.XResolution] = exif[ExifTags.Base.YResolution] = 300.0
        exif[ExifTags.Base.ResolutionUnit] = 2
        options = {"exif": exif}
    picture().save(source, **options)
    # In the workflow a result is a PNG first.
    write_photograph(tmp_path / "between.png", read_photograph(source))
    write_photograph(made, read_photograph(tmp_path / "between.png"), like=source)
    with Image.open(made) as image:
        dpi = image.info.get("dpi") or (image.getexif()[ExifTags.Base.XResolution],) * 2
    assert dpi == pytest.approx((300, 300), abs=0.01)


@pytest.mark.parametrize(
    "dpi", [(0, 0), (1e9, 300), (float("nan"), 300), (float("inf"), 1), (-5, -5), ("a", "b"), 7]
)
def test_a_senseless_resolution_is_left_out(dpi: object) -> None:
    from editinfinity.files.photograph import photograph_of

    image = picture()
    image.info["dpi"] = dpi
    assert photograph_of(image).metadata.dpi is None


def test_without_a_resolution_none_is_made_up(tmp_path: Path) -> None:
    for suffix in TARGETS:
        picture().save(tmp_path / f"a{suffix}", exif=exif_with(b"note"))
        assert read_photograph(tmp_path / f"a{suffix}").metadata.dpi is None


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("size", [100, 70_000, 300_000])
def test_metadata_too_large_for_a_format_never_fail(
    tmp_path: Path, target: str, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    xmp = XMP.replace(b"kept too", b"k" * size)
    xmp = without_lost_parts(xmp) or b""
    metadata = Metadata(exif_with(b"N" * size), xmp, (300.0, 300.0))
    made = tmp_path / f"out{target}"
    write_photograph(made, Photograph(picture(), metadata=metadata), '{"seed": 1}')
    again = read_photograph(made)
    assert read_settings(made) == '{"seed": 1}' and b"Maker" in (again.metadata.exif or b"")
    fits = size == 100 or target != ".jpg"
    assert (b"N" * size in (again.metadata.exif or b"")) == fits
    assert (b"k" * size in (again.metadata.xmp or b"")) == fits
    assert ("the XMP is too long for a JPEG and is left out" in caplog.text) != fits
    assert ("the maker note of its EXIF is too long for a JPEG" in caplog.text) != fits


def test_exif_and_settings_too_large_for_a_jpeg_go(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = "x" * 70_000
    photograph = Photograph(picture(), metadata=Metadata(exif.tobytes()))
    write_photograph(tmp_path / "a.jpg", photograph, "s" * 70_000)
    assert "the EXIF is too long for a JPEG and is left out" in caplog.text
    assert "the XMP and the settings are too long for a JPEG and are left out" in caplog.text
    assert read_settings(tmp_path / "a.jpg") is None


@pytest.mark.parametrize("target", TARGETS)
def test_metadata_that_cannot_be_written_go_with_a_line(
    tmp_path: Path, target: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    save = Image.Image.save

    def refuse(self: Image.Image, file: object, format_: str, **options: object) -> None:
        if b"Maker" in bytes(options.get("exif") or b""):
            raise ValueError("bad tag")
        save(self, file, format_, **options)

    if target == ".tif":
        metadata = Metadata(b"Exif\0\0II*\0" + b"\xff" * 8)
    else:
        monkeypatch.setattr(Image.Image, "save", refuse)
        metadata = Metadata(exif_with(b"note"))
    write_photograph(tmp_path / f"a{target}", Photograph(picture(), metadata=metadata), "{}")
    if target != ".tif":
        assert "its EXIF and XMP cannot be written (bad tag) and are left out" in caplog.text
    assert read_settings(tmp_path / f"a{target}") == "{}" or target == ".png"


def test_settings_are_added_to_any_xmp() -> None:
    assert b"{}" in with_settings(without_lost_parts(XMP), "{}")
