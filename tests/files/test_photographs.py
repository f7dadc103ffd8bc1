"""Photographs come back as they came: pixels, alpha, depth, profile, metadata."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms

from editinfinity.errors import UserError
from editinfinity.files import lost_detail
from editinfinity.files.colour import from_srgb, to_srgb
from editinfinity.files.geometry import Geometry
from editinfinity.files.images import model_pixels, read_image, to_model
from editinfinity.files.lost_detail import LostDetail
from editinfinity.files.metadata import Metadata, with_settings
from editinfinity.files.photograph import read_photograph
from editinfinity.files.writing import read_settings, write_photograph
from tests.files.profiles import grey_profile, swapped_profile

SIZE = (96, 64)
SETTINGS = json.dumps({"prompt": "a <cat> & “dog” ☕ ]]>"}, ensure_ascii=False)


def noise(channels: int, top: int = 256, dtype: type = np.uint8) -> np.ndarray:
    shape = (SIZE[1], SIZE[0], channels) if channels > 1 else (SIZE[1], SIZE[0])
    return np.random.default_rng(channels).integers(0, top, shape).astype(dtype)


def whole() -> Geometry:
    return Geometry((SIZE[1], SIZE[0]), 0, 0, SIZE[1], SIZE[0], (64, 96))


def half_open() -> Image.Image:
    """The left half keeps the photograph."""
    opacity = Image.new("L", SIZE, 255)
    opacity.paste(0, (0, 0, SIZE[0] // 2, SIZE[1]))
    return opacity


KINDS = {
    "rgb.png": Image.fromarray(noise(3)),
    "rgba.png": Image.fromarray(noise(4)),
    "grey.png": Image.fromarray(noise(1)),
    "grey alpha.png": Image.fromarray(noise(4)).convert("LA"),
    "deep.png": Image.fromarray(noise(1, 65536, np.uint16)),
    "deep.tif": Image.fromarray(noise(1, 65536, np.uint16)),
    "rgb.tif": Image.fromarray(noise(3)),
    "rgba.webp": Image.fromarray(noise(4)),
    "palette.png": Image.fromarray(noise(3)).quantize(16),
}


@pytest.mark.parametrize("name", KINDS)
def test_kept_pixels_are_identical_in_lossless_formats(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    options = {"lossless": True, "exact": True} if path.suffix == ".webp" else {}
    KINDS[name].save(path, **options)
    photograph = read_photograph(path)
    assert photograph.warnings == ()
    drawn = Image.new("RGB", (96, 64), (250, 10, 10))
    finished = photograph.paste(drawn, whole(), half_open())
    write_photograph(tmp_path / f"out{path.suffix}", finished, SETTINGS, like=path)
    before, after = Image.open(path), Image.open(tmp_path / f"out{path.suffix}")
    assert after.mode == {"P": "RGB"}.get(before.mode, before.mode) and after.size == SIZE
    old = np.asarray(before.convert("RGB") if before.mode == "P" else before)
    new = np.asarray(after)
    middle = SIZE[0] // 2
    assert (new[:, :middle] == old[:, :middle]).all()
    colour = slice(None) if new.ndim == 2 else slice(0, 3 if new.shape[2] > 2 else 1)
    assert (new[:, middle:][..., colour] != old[:, middle:][..., colour]).mean() > 0.9
    if photograph.alpha is not None:
        assert (np.asarray(after.getchannel("A")) == np.asarray(photograph.alpha)).all()
    assert read_settings(tmp_path / f"out{path.suffix}") == SETTINGS


@pytest.mark.parametrize("name", KINDS)
def test_a_picture_that_shows_the_same_gives_the_photograph_back(name: str, tmp_path: Path) -> None:
    """Bit by bit, at the photograph's own depth and resolution, though it is enlarged."""
    KINDS[name].save(tmp_path / name, lossless=True)
    photograph = read_photograph(tmp_path / name)
    rendering = Image.fromarray(noise(3)).resize((24, 16))
    lost = LostDetail(rendering, Image.new("L", rendering.size, 255))
    same = photograph.paste(rendering, whole(), None, lost)
    assert (np.asarray(same.pixels) == np.asarray(photograph.pixels)).all()
    other = Image.new("RGB", (24, 16), (90, 120, 200))
    drawn = photograph.paste(other, whole(), half_open(), lost)
    assert drawn.pixels.mode == photograph.pixels.mode
    old, new = np.asarray(photograph.pixels), np.asarray(drawn.pixels)
    middle = SIZE[0] // 2
    assert (new[:, :middle] == old[:, :middle]).all()
    assert (new[:, middle:] != old[:, middle:]).mean() > 0.8


@pytest.mark.parametrize("name", ["rgb.png", "deep.png"])
def test_detail_is_added_by_its_weight_and_clipped(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    KINDS[name].save(tmp_path / name)
    photograph = read_photograph(tmp_path / name)
    unit = 257 if name == "deep.png" else 1
    size = (SIZE[0] // 2, SIZE[1] // 2)
    rendering, drawn = (Image.new("RGB", size, (level,) * 3) for level in (100, 200))
    weights = Image.new("L", size, 0)
    weights.paste(255, (size[0] // 2, 0, *size))  # the right half
    lost = LostDetail(rendering, weights)
    pixels = np.asarray(photograph.paste(drawn, whole(), None, lost).pixels, dtype=float)
    kept = np.asarray(photograph.pixels, dtype=float)
    assert (pixels[:, : SIZE[0] // 2 - 2] == 200 * unit).all()
    right = np.s_[:, SIZE[0] // 2 + 2 :]
    assert (pixels[right] == np.clip(kept[right] + 100 * unit, 0, 255 * unit)).all()

    # Strips of a few rows give the same picture, also of a crop that lies within the photograph.
    inner = Geometry((SIZE[1], SIZE[0]), 9, 11, 40, 60, (32, 48))
    lost = LostDetail(Image.fromarray(noise(3)).resize(size), Image.fromarray(noise(1, 256)))
    at_once = photograph.paste(drawn, inner, None, lost).pixels
    monkeypatch.setattr(lost_detail, "PIXELS_AT_ONCE", 7 * 60)
    strips = photograph.paste(drawn, inner, None, lost).pixels
    differences = np.abs(np.asarray(at_once, float) - np.asarray(strips, float))
    assert differences.max() <= unit  # where a resampled level lies halfway between two

    # So does what is opaque in a part alone; the rest is the photograph's.
    opacity = Image.new("L", (60, 40), 0)
    opacity.paste(255, (20, 10, 50, 30))
    part = np.asarray(photograph.paste(drawn, inner, opacity, lost).pixels, float)
    opaque = np.s_[9 + 10 : 9 + 30, 11 + 20 : 11 + 50]
    assert np.abs(part[opaque] - np.asarray(at_once, float)[opaque]).max() <= unit
    part[opaque] = kept[opaque]
    assert np.array_equal(part, kept)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("profile", [None, swapped_profile(), grey_profile(1.0)])
def test_a_photograph_is_seen_as_the_model_sees_it(
    name: str, profile: bytes | None, tmp_path: Path
) -> None:
    KINDS[name].resize(SIZE).save(tmp_path / name, lossless=True, icc_profile=profile)
    geometry = Geometry((SIZE[1], SIZE[0]), 8, 16, 48, 64, (24, 32))
    seen = np.asarray(read_photograph(tmp_path / name).seen(geometry))
    model = model_pixels(to_model(read_image(tmp_path / name), geometry))
    assert (seen == model).all()


def test_detail_is_restored_in_the_photographs_own_colours(tmp_path: Path) -> None:
    Image.fromarray(noise(3)).save(tmp_path / "a.png", icc_profile=swapped_profile())
    photograph = read_photograph(tmp_path / "a.png")
    drawn, rendering = (Image.new("RGB", SIZE, colour) for colour in ((200, 40, 90), (90, 80, 70)))
    lost = LostDetail(rendering, Image.new("L", SIZE, 255))
    new = np.asarray(photograph.paste(drawn, whole(), None, lost).pixels, int)
    moved = np.subtract(
        *(np.asarray(from_srgb(each, photograph.profile), int) for each in (drawn, rendering))
    )
    assert np.abs(moved).max() > 50
    assert (new == (np.asarray(photograph.pixels, int) + moved).clip(0, 255)).all()


def test_sixteen_bit_colour_becomes_eight_with_a_word(tmp_path: Path) -> None:
    # Pillow cannot write it: an 8-bit file with its rows doubled and the head changed.
    import zlib

    pixels = noise(3, 65536, np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")
        )

    head = SIZE[0].to_bytes(4, "big") + SIZE[1].to_bytes(4, "big") + bytes([16, 2, 0, 0, 0])
    data = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    photograph = read_photograph(tmp_path / "a.png")
    assert "has 16 bits per channel; only 8 are kept" in photograph.warnings[0]
    assert np.abs(np.asarray(photograph.pixels).astype(int) - pixels // 256).max() <= 1


def exif_of(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Maker"
    exif[ExifTags.Base.Orientation] = orientation
    details = exif.get_ifd(ExifTags.IFD.Exif)
    details[ExifTags.Base.DateTimeOriginal] = "2026:01:02 03:04:05"
    details[ExifTags.Base.ExifImageWidth] = SIZE[0]
    details[ExifTags.Base.ExifImageHeight] = SIZE[1]
    place = exif.get_ifd(ExifTags.IFD.GPSInfo)
    place[ExifTags.GPS.GPSLatitudeRef] = "N"
    place[ExifTags.GPS.GPSLatitude] = (52.0, 30.0, 0.0)
    return exif


XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-'
    b'syntax-ns#"><rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" '
    b'xmlns:exif="http://ns.adobe.com/exif/1.0/" exif:GPSLatitude="52,30N" '
    b'drone-dji:GpsLatitude="52.5" dc:format="image/jpeg"/>'
    b"</rdf:RDF></x:xmpmeta>"
)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize("keep", [True, False])
def test_metadata_comes_back_upright_with_the_settings(
    tmp_path: Path, suffix: str, keep: bool
) -> None:
    source = tmp_path / "in.jpg"
    Image.fromarray(noise(3)).save(source, exif=exif_of(6), xmp=XMP, quality=95)
    photograph = read_photograph(source)
    assert photograph.size == (SIZE[0], SIZE[1])  # turned
    if not keep:
        photograph = photograph.without_location()
    write_photograph(tmp_path / f"out{suffix}", photograph, SETTINGS, like=source)
    with Image.open(tmp_path / f"out{suffix}") as made:
        exif = made.getexif()
        assert exif.get(ExifTags.Base.Orientation, 1) == 1
        assert exif[ExifTags.Base.Make] == "Maker"
        details = exif.get_ifd(ExifTags.IFD.Exif)
        assert details[ExifTags.Base.DateTimeOriginal] == "2026:01:02 03:04:05"
        assert details[ExifTags.Base.ExifImageWidth] == made.width == SIZE[1]
        assert bool(exif.get_ifd(ExifTags.IFD.GPSInfo)) == keep
        xmp = made.info["xmp"]
        xmp = xmp.encode() if isinstance(xmp, str) else xmp
        assert b"dc:format" in xmp and (b"GPSLatitude" in xmp) == keep
        assert (b"GpsLatitude" in xmp) == keep
    assert read_settings(tmp_path / f"out{suffix}") == SETTINGS
    again = tmp_path / f"again{suffix}"
    write_photograph(again, photograph, SETTINGS, like=source)
    assert again.read_bytes() == (tmp_path / f"out{suffix}").read_bytes()


@pytest.mark.parametrize(
    "turn", [b'tiff:Orientation="6"', b"/><x><tiff:Orientation>6</tiff:Orientation></x><x "]
)
def test_xmp_that_contradicts_exif_turns_nothing(tmp_path: Path, turn: bytes) -> None:
    source, made = tmp_path / "in.jpg", tmp_path / "out.jpg"
    xmp = XMP.replace(b'exif:GPSLatitude="52,30N"', turn)
    Image.fromarray(noise(3)).save(source, exif=exif_of(1), xmp=xmp)
    photograph = read_photograph(source)
    for target in (made, tmp_path / "out.png"):
        write_photograph(target, photograph, SETTINGS, like=source)
        assert read_photograph(target).size == photograph.size
        assert b"tiff:Orientation" not in target.read_bytes()


@pytest.mark.parametrize("lossless", [True, False])
def test_webp_is_written_as_it_was_read_behind_a_profile_too(
    tmp_path: Path, lossless: bool
) -> None:
    source, made = tmp_path / "in.webp", tmp_path / "out.webp"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(noise(3)).save(source, lossless=lossless, icc_profile=profile)
    write_photograph(made, read_photograph(source), SETTINGS, like=source)
    assert (b"VP8L" in made.read_bytes()) == lossless


@pytest.mark.parametrize("turn", [1, 6])
@pytest.mark.parametrize("suffix", [".tif", ".jpg"])
def test_exif_of_a_tiff_comes_back(tmp_path: Path, turn: int, suffix: str) -> None:
    source, made = tmp_path / "in.tif", tmp_path / f"out{suffix}"
    # As bytes: Pillow writes what EXIF says below the first level only then.
    Image.fromarray(noise(3)).save(source, exif=exif_of(turn).tobytes())
    photograph = read_photograph(source)
    write_photograph(made, photograph, SETTINGS, like=source)
    with Image.open(made) as picture:
        assert picture.size == photograph.size[::-1]
        exif = picture.getexif()
        assert exif[ExifTags.Base.Make] == "Maker"
        assert exif.get(ExifTags.Base.Orientation, 1) == 1
        details = exif.get_ifd(ExifTags.IFD.Exif)
        assert details[ExifTags.Base.DateTimeOriginal] == "2026:01:02 03:04:05"
        assert exif.get_ifd(ExifTags.IFD.GPSInfo)
    assert read_photograph(made).size == photograph.size


INTEROP = {1: "R03", 2: b"0100"}
"""Says that numbers without a profile are of Adobe RGB."""


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("target", [".jpg", ".tif", ".png", ".webp"])
@pytest.mark.parametrize("suffix", [".jpg", ".tif", ".png", ".webp"])
def test_the_innermost_directory_of_exif_is_carried_and_no_stale_offset(
    tmp_path: Path, suffix: str, target: str, keep: bool
) -> None:
    exif = exif_of(6)
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.IFD.Interop] = INTEROP
    exif[ExifTags.Base.SubIFDs] = 70_000  # an offset to pictures that do not come along
    source, made = tmp_path / f"in{suffix}", tmp_path / f"out{target}"
    written = Image.Exif()
    written.load(exif.tobytes())
    # Of bytes Pillow writes a TIFF's innermost offset as it was.
    written.get_ifd(ExifTags.IFD.Exif)[ExifTags.IFD.Interop] = INTEROP
    Image.fromarray(noise(3)).save(source, exif=written)
    photograph = read_photograph(source)
    assert photograph.size == SIZE  # turned
    write_photograph(made, photograph if keep else photograph.without_location(), SETTINGS)
    with Image.open(made) as picture:
        found = picture.getexif()
        assert found.get_ifd(ExifTags.IFD.Interop) == INTEROP
        assert ExifTags.Base.SubIFDs not in found
        details = found.get_ifd(ExifTags.IFD.Exif)
        assert details[ExifTags.Base.DateTimeOriginal] == "2026:01:02 03:04:05"
        place = {ExifTags.GPS.GPSLatitudeRef: "N", ExifTags.GPS.GPSLatitude: (52.0, 30.0, 0.0)}
        assert found.get_ifd(ExifTags.IFD.GPSInfo) == (place if keep else {})


@pytest.mark.parametrize("kind", [b"\0\4", b"\0\2", b"\0\x09"])  # LONG, ASCII, SLONG
@pytest.mark.parametrize("offset", [0, 5_000_000, 2**32 - 1])
def test_an_innermost_directory_that_is_not_there_is_left_out_alone(
    tmp_path: Path, kind: bytes, offset: int
) -> None:
    exif = exif_of(1)
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.IFD.Interop] = INTEROP
    entry = re.compile(rb"\xa0\x05\0\x04\0\0\0\x01....", re.DOTALL)
    changed = b"\xa0\x05" + kind + b"\0\0\0\1" + offset.to_bytes(4, "big")
    data, times = entry.subn(lambda _: changed, exif.tobytes())
    assert times == 1
    Image.fromarray(noise(3)).save(tmp_path / "in.jpg", exif=data)
    write_photograph(tmp_path / "out.jpg", read_photograph(tmp_path / "in.jpg"))
    with Image.open(tmp_path / "out.jpg") as picture:
        details = picture.getexif().get_ifd(ExifTags.IFD.Exif)
        assert ExifTags.IFD.Interop not in details
        assert details[ExifTags.Base.DateTimeOriginal] == "2026:01:02 03:04:05"


def test_a_picture_handed_out_carries_its_profile(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(noise(3)).save(tmp_path / "in.jpg", icc_profile=profile)
    read_photograph(tmp_path / "in.jpg").picture().save(tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as made:
        assert made.info["icc_profile"] == profile


@pytest.mark.slow
def test_an_edit_of_an_edit_carries_only_its_own_settings() -> None:
    first = with_settings(XMP, '{"prompt": "first"}')
    second = with_settings(first, '{"prompt": "second"}')
    assert b"first" not in second and second.count(b"<editinfinity:settings>") == 1
    assert b"dc:format" in second
    assert b"{}" in with_settings(b"\xff no packet", "{}")


def test_thumbnails_which_show_the_picture_before_are_left_out(tmp_path: Path) -> None:
    thumb = b"\xff\xd8" + b"THUMBNAIL" * 20 + b"\xff\xd9"
    tiff = (
        b"II*\0\x08\0\0\0"
        b"\x01\0\x0f\x01\x02\0\x06\0\0\0\x1a\0\0\0"  # Make
        b"\x20\0\0\0"
        b"Maker\0"
        b"\x02\0\x01\x02\x04\0\x01\0\0\0\x3e\0\0\0\x02\x02\x04\0\x01\0\0\0"
        + len(thumb).to_bytes(4, "little")
        + b"\0\0\0\0"
        + thumb
    )
    Image.fromarray(noise(3)).save(tmp_path / "a.jpg", exif=b"Exif\0\0" + tiff)
    assert b"THUMBNAIL" in (tmp_path / "a.jpg").read_bytes()
    exif = read_photograph(tmp_path / "a.jpg").metadata.exif
    assert exif is not None and b"Maker" in exif and b"THUMBNAIL" not in exif


def test_broken_exif_is_left_out_with_a_word(tmp_path: Path) -> None:
    Image.fromarray(noise(3)).save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert read_photograph(tmp_path / "a.jpg").metadata in (Metadata(), Metadata(b"", None))


def test_profiles_are_converted_for_the_model_and_back(tmp_path: Path) -> None:
    """Under a profile whose red and green are swapped, the model sees them swapped back."""
    profile = swapped_profile()
    red = Image.new("RGB", SIZE, (200, 40, 40))
    red.save(tmp_path / "a.png", icc_profile=profile)
    seen = to_model(read_image(tmp_path / "a.png"), whole())
    colour = (seen[:, 0, 0] + 1) * 127.5
    assert colour[1] > 150 > 90 > colour[0]
    there = from_srgb(to_srgb(red, profile), profile)
    assert np.abs(np.asarray(there, int) - np.asarray(red, int)).max() <= 6
    photograph = read_photograph(tmp_path / "a.png")
    pasted = photograph.paste(Image.new("RGB", (96, 64), (40, 200, 40)), whole(), None)
    pixel = pasted.pixels.getpixel((5, 5))
    assert pixel[0] > 150 > 90 > pixel[1]
    write_photograph(tmp_path / "b.png", pasted)
    assert Image.open(tmp_path / "b.png").info["icc_profile"] == profile


def test_srgb_and_useless_profiles_change_no_number() -> None:
    image = Image.fromarray(noise(3))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (None, srgb, b"nonsense"):
        assert (np.asarray(to_srgb(image, profile)) == np.asarray(image)).all()


def test_a_jpeg_keeps_its_tables_and_loses_little_anew(tmp_path: Path) -> None:
    rows, columns = np.mgrid[0:256, 0:256] / 20
    smooth = np.stack([np.sin(rows), np.cos(columns), np.sin(rows + columns)], -1) * 100 + 128
    for quality, subsampling in ((75, 2), (92, 0)):
        path = tmp_path / f"{quality}.jpg"
        Image.fromarray(smooth.astype(np.uint8)).save(
            path, quality=quality, subsampling=subsampling
        )
        write_photograph(tmp_path / "out.jpg", read_photograph(path), SETTINGS, like=path)
        old, new = Image.open(path), Image.open(tmp_path / "out.jpg")
        assert old.quantization == new.quantization
        loss = np.abs(np.asarray(old, int) - np.asarray(new, int))
        assert loss.mean() < 0.6
        assert (tmp_path / "out.jpg").stat().st_size < 1.1 * path.stat().st_size + 2000


def test_formats_that_cannot_hold_it_say_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    KINDS["rgba.png"].save(tmp_path / "a.png")
    photograph = read_photograph(tmp_path / "a.png")
    write_photograph(tmp_path / "a.jpg", photograph)
    assert "JPEG has no transparency" in caplog.text
    with pytest.raises(UserError, match=r"a\.bmp: cannot be written in that format"):
        write_photograph(tmp_path / "a.bmp", photograph)
    KINDS["deep.png"].save(tmp_path / "d.png")
    write_photograph(tmp_path / "d.jpg", read_photograph(tmp_path / "d.png"))
    levels = np.asarray(Image.open(tmp_path / "d.png")) / 257
    assert np.abs(np.asarray(Image.open(tmp_path / "d.jpg"), float) - levels).mean() < 30
    write_photograph(tmp_path / "d.webp", read_photograph(tmp_path / "d.png"))
    assert "d.webp: its format has 8 bits per channel; only 8 of the 16 are kept" in caplog.text
