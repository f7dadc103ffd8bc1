"""Colour profiles are judged by what they do, and results have the colours that were drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from editinfinity.files.colour import to_srgb
from editinfinity.files.geometry import Geometry
from editinfinity.files.images import read_image, to_model
from editinfinity.files.photograph import read_photograph
from editinfinity.files.writing import write_photograph
from tests.files.profiles import P3_PRIMARIES, grey_profile, matrix_profile, scanner_profile

ROUNDED_PRIMARIES = ((0.4363, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1429, 0.0606, 0.7141))


def ramp(mode: str = "RGB") -> Image.Image:
    """All values from dark to bright; the colours differ."""
    grey = Image.fromarray(np.arange(256, dtype=np.uint8)[None].repeat(32, 0))
    if mode == "L":
        return grey
    return Image.merge("RGB", (grey, grey.point(lambda v: v // 2), grey.point(lambda v: 255 - v)))


@pytest.mark.parametrize(
    ("profile", "converted"),
    [
        (matrix_profile(curve="srgb", name="My monitor"), False),
        (matrix_profile(curve="srgb", name="sRGB", padding=1_200_000), False),
        (matrix_profile(ROUNDED_PRIMARIES, "srgb", "as another program rounds them"), False),
        (matrix_profile(curve=2.2, name="sRGB IEC61966-2.1"), True),
        (matrix_profile(curve=1.0, name="sRGB linear"), True),
        (matrix_profile(P3_PRIMARIES, "srgb", "sRGB (Display P3)"), True),
        (matrix_profile(P3_PRIMARIES, "srgb", "P3", padding=3_000_000), True),
        (scanner_profile(), True),
    ],
    ids=["as sRGB", "large", "rounded", "gamma", "linear", "P3", "large P3", "table"],
)
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_a_profile_is_judged_by_what_it_does_not_by_its_name(
    tmp_path: Path, profile: bytes, converted: bool, suffix: str
) -> None:
    path, picture = tmp_path / f"a{suffix}", ramp()
    exact = {"lossless": True} if suffix == ".webp" else {}
    picture.save(path, icc_profile=profile, **exact)
    image = read_image(path)
    seen = np.asarray(to_srgb(image, image.info["icc_profile"]), int)
    difference = np.abs(seen - np.asarray(image, int)).max()
    assert difference > 4 if converted else difference == 0
    # Pasted into a photograph of this profile, generated colours look the same.
    photograph = read_photograph(path)
    patch = Image.new("RGB", picture.size, (120, 130, 110))
    geometry = Geometry(photograph.size, 0, 0, *photograph.size, photograph.size)
    finished = photograph.paste(patch, geometry, None)
    shown = np.asarray(to_srgb(finished.pixels, finished.profile), int)
    assert np.abs(shown - (120, 130, 110)).max() <= 4
    write_photograph(tmp_path / f"b{suffix}", finished)
    with Image.open(tmp_path / f"b{suffix}") as made:
        assert made.info.get("icc_profile") == finished.profile
    if profile == scanner_profile():
        assert photograph.profile is None
        assert photograph.warnings == (
            f"{path}: its colour profile cannot be used for the result, which is sRGB",
        )
    else:
        assert photograph.profile == profile and photograph.warnings == ()


@pytest.mark.parametrize(
    ("profile", "converted"),
    [
        (grey_profile(2.2), True), (grey_profile(1.0), True), (grey_profile("srgb"), False),
        (matrix_profile(curve=1.0), True), (matrix_profile(curve="srgb"), False), (None, False),
    ],
)  # fmt: skip
def test_grey_pictures_have_profiles_too(
    tmp_path: Path, profile: bytes | None, converted: bool
) -> None:
    path = tmp_path / "a.png"
    ramp("L").save(path, icc_profile=profile)
    seen = np.asarray(read_image(path), int)
    assert ((np.abs(seen - np.asarray(ramp("RGB"), int)[..., :1]).max()) > 2) == converted
    photograph = read_photograph(path)
    assert photograph.profile == profile and photograph.warnings == ()
    geometry = Geometry(photograph.size, 0, 0, *photograph.size, photograph.size)
    patch = Image.new("RGB", ramp().size, (120, 120, 120))
    finished = photograph.paste(patch, geometry, None)
    assert finished.pixels.mode == "L"
    write_photograph(tmp_path / "b.png", finished)
    assert np.abs(np.asarray(read_image(tmp_path / "b.png"), int) - 120).max() <= 3


@pytest.mark.parametrize(
    "profile",
    [b"nonsense", matrix_profile()[:300], b"\xff" * 5000, grey_profile(2.2), bytes(2_000_000)],
)
def test_a_useless_profile_is_told_and_left_out(tmp_path: Path, profile: bytes) -> None:
    for suffix in (".png", ".jpg"):
        path = tmp_path / f"a{suffix}"
        ramp().save(path, icc_profile=profile, quality=95)
        photograph = read_photograph(path)
        assert photograph.warnings == (
            f"{path}: its colour profile cannot be used; sRGB is assumed",
        )
        assert photograph.profile is None
        seen = to_model(read_image(path), Geometry((32, 256), 0, 0, 32, 256, (32, 256)))
        plain = np.asarray(Image.open(path), dtype=np.float32).transpose(2, 0, 1) / 127.5 - 1
        assert np.abs(seen - plain).max() < 1e-5


def test_lab_is_converted_with_a_line(tmp_path: Path) -> None:
    Image.new("LAB", (32, 32), (140, 128, 128)).save(tmp_path / "a.tif")
    photograph = read_photograph(tmp_path / "a.tif")
    assert photograph.warnings == (f"{tmp_path / 'a.tif'}: is Lab; it is converted to sRGB",)
    red, green, blue = photograph.pixels.getpixel((0, 0))
    assert max(red, green, blue) - min(red, green, blue) <= 2
    assert read_image(tmp_path / "a.tif").getpixel((0, 0)) == (red, green, blue)
