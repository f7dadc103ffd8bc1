"""Photographs and masks of every kind that people have."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from editinfinity.errors import UserError
from editinfinity.files.geometry import Geometry
from editinfinity.files.images import (
    from_model,
    read_image,
    schedule_for,
    size_of,
    to_model,
    write_png,
)
from editinfinity.files.masks import read_mask
from editinfinity.files.photograph import Photograph
from editinfinity.files.writing import read_settings
from editinfinity.scales import schedule


def gradient(width: int, height: int) -> Image.Image:
    rows, columns = np.mgrid[0:height, 0:width]
    red, green = columns * 255 // max(1, width - 1), rows * 255 // max(1, height - 1)
    return Image.fromarray(np.stack([red, green, np.full_like(red, 90)], -1).astype(np.uint8))


def mean_difference(first: Image.Image, second: Image.Image) -> float:
    return float(np.abs(np.asarray(first, float) - np.asarray(second, float)).mean())


@pytest.mark.parametrize(
    "name, options",
    [("a.png", {}), ("a.webp", {"lossless": True}), ("a.jpg", {"quality": 98}), ("a.tif", {}),
     ("a.bmp", {}), ("ü ñ 日.png", {})],
)  # fmt: skip
def test_reads_common_formats(tmp_path: Path, name: str, options: dict) -> None:
    gradient(40, 30).save(tmp_path / name, **options)
    image = read_image(tmp_path / name)
    assert (image.mode, image.size) == ("RGB", (40, 30))
    assert mean_difference(image, gradient(40, 30)) < 2.5


def test_exif_orientation_turns_the_picture(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn by 90° clockwise
    gradient(40, 30).save(tmp_path / "a.jpg", exif=exif, quality=98)
    image = read_image(tmp_path / "a.jpg")
    assert image.size == (30, 40)
    turned = gradient(40, 30).transpose(Image.Transpose.ROTATE_270)
    assert mean_difference(image, turned) < 2.5
    assert "exif" not in image.info


def test_broken_exif_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    gradient(40, 30).save(tmp_path / "a.jpg", exif=b"Exif\x00\x00nonsense" + b"\xff" * 40)
    assert read_image(tmp_path / "a.jpg").size == (40, 30)


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    gradient(40, 30).convert("CMYK").save(tmp_path / "a.jpg", quality=98)
    assert Image.open(tmp_path / "a.jpg").mode == "CMYK"
    assert mean_difference(read_image(tmp_path / "a.jpg"), gradient(40, 30)) < 3


def test_cmyk_with_a_useless_profile_is_still_read(tmp_path: Path) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    gradient(40, 30).convert("CMYK").save(tmp_path / "a.jpg", quality=98, icc_profile=srgb)
    image = read_image(tmp_path / "a.jpg")
    assert mean_difference(image, gradient(40, 30)) < 3
    assert "icc_profile" not in image.info


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path: Path, suffix: str) -> None:
    ramp = np.linspace(0, 65535, 64 * 32).reshape(32, 64).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / f"a.{suffix}")
    image = np.asarray(read_image(tmp_path / f"a.{suffix}"))
    assert image.shape == (32, 64, 3)
    assert np.abs(image[..., 0].astype(float) - ramp / 257).max() <= 1


def test_float_grey(tmp_path: Path) -> None:
    ramp = np.linspace(0, 1, 64 * 32, dtype=np.float32).reshape(32, 64)
    Image.fromarray(ramp).save(tmp_path / "a.tif")
    assert np.abs(np.asarray(read_image(tmp_path / "a.tif"))[..., 1] - ramp * 255).max() <= 1


def test_grey_and_bilevel(tmp_path: Path) -> None:
    gradient(40, 30).convert("L").save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").mode == "RGB"
    gradient(40, 30).convert("1").save(tmp_path / "b.png")
    assert set(np.unique(np.asarray(read_image(tmp_path / "b.png")))) <= {0, 255}


def test_transparency_lies_over_white(tmp_path: Path) -> None:
    half = Image.new("RGBA", (32, 32), (255, 0, 0, 255))
    half.paste((0, 0, 0, 0), (0, 0, 16, 32))
    half.save(tmp_path / "rgba.png")
    half.convert("LA").save(tmp_path / "la.png")
    palette = half.convert("RGB").quantize(4)
    palette.save(tmp_path / "palette.png", transparency=palette.getpixel((0, 0)))
    for name in ("rgba.png", "la.png", "palette.png"):
        pixels = np.asarray(read_image(tmp_path / name))
        assert (pixels[:, :16] == 255).all(), name
        assert (pixels[:, 16:, 1] < 255).all(), name


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    for name in ("a.gif", "a.webp", "a.png"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], lossless=True)
        red, _, blue = read_image(tmp_path / name).getpixel((5, 5))
        assert red > 250 and blue < 5, name


def test_colour_profile_of_rgb_is_kept(tmp_path: Path) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    gradient(40, 30).save(tmp_path / "a.png", icc_profile=srgb)
    assert read_image(tmp_path / "a.png").info == {"icc_profile": srgb}


def test_faults_are_one_line_with_the_files_name(tmp_path: Path) -> None:
    whole = io.BytesIO()
    gradient(200, 200).save(whole, "JPEG")
    cases = {
        "missing.png": None,
        "truncated.jpg": whole.getvalue()[: len(whole.getvalue()) // 2],
        "empty.png": b"",
        "text.png": b"not a picture at all",
        "page.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 50 50\n",
    }
    for name, data in cases.items():
        if data is not None:
            (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError, match=name):
            read_image(tmp_path / name)
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(UserError, match=r"folder\.png"):
        read_image(tmp_path / "folder.png")


def test_decompression_bomb_is_refused_unread(tmp_path: Path) -> None:
    Image.new("1", (20000, 10000)).save(tmp_path / "bomb.png")  # a few kB, 200 million pixels
    with pytest.raises(UserError, match="million pixels"):
        read_image(tmp_path / "bomb.png")


def test_a_picture_too_small_is_refused(tmp_path: Path) -> None:
    gradient(200, 4).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="only 200×4 pixels"):
        read_image(tmp_path / "a.png")


def mask_file(path: Path, size: tuple[int, int] = (40, 30), mode: str = "L") -> Path:
    """White, with the left quarter black."""
    mask = Image.new("L", size, 255)
    mask.paste(0, (0, 0, size[0] // 4, size[1]))
    mask.convert(mode).save(path)
    return path


@pytest.mark.parametrize("mode", ["L", "1", "RGB", "RGBA", "P", "LA"])
def test_black_is_edited(tmp_path: Path, mode: str) -> None:
    edited = read_mask(mask_file(tmp_path / "m.png", mode=mode), (30, 40))
    assert edited.shape == (30, 40) and edited.dtype == bool
    assert edited[:, :10].all() and not edited[:, 10:].any()
    assert (read_mask(tmp_path / "m.png", (30, 40), "white") == ~edited).all()


def test_threshold_of_a_mask(tmp_path: Path) -> None:
    Image.fromarray(np.array([[128, 129] * 16] * 16, np.uint8)).save(tmp_path / "m.png")
    assert read_mask(tmp_path / "m.png", (16, 32)).tolist() == [[True, False] * 16] * 16


def test_transparent_parts_of_a_mask_are_background(tmp_path: Path) -> None:
    mask = Image.new("RGBA", (32, 16), (0, 0, 0, 0))
    mask.paste((0, 0, 0, 255), (0, 0, 8, 16))
    mask.save(tmp_path / "black.png")
    assert read_mask(tmp_path / "black.png", (16, 32)).sum() == 8 * 16
    mask = Image.new("RGBA", (32, 16), (255, 255, 255, 0))
    mask.paste((255, 255, 255, 255), (0, 0, 8, 16))
    mask.save(tmp_path / "white.png")
    assert read_mask(tmp_path / "white.png", (16, 32), "white").sum() == 8 * 16


def test_mask_of_the_same_shape_is_scaled(tmp_path: Path) -> None:
    edited = read_mask(mask_file(tmp_path / "m.png", (20, 15)), (300, 400))
    assert edited.shape == (300, 400)
    assert edited.mean() == pytest.approx(0.25)


def test_mask_of_another_shape_is_refused_with_both_sizes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"m\.png: is 30×40 pixels but .* 400×300"):
        read_mask(mask_file(tmp_path / "m.png", (30, 40)), (300, 400))


@pytest.mark.parametrize("value, what", [(255, "nothing"), (0, "everything")])
def test_a_mask_without_contrast_is_doubtful(tmp_path: Path, value: int, what: str) -> None:
    Image.new("L", (40, 30), value).save(tmp_path / "m.png")
    notices: list[str] = []
    edited = read_mask(tmp_path / "m.png", (30, 40), notices=notices)
    assert edited.all() == (value == 0) and edited.any() == (value == 0)
    assert notices == [
        f"{tmp_path}/m.png: marks {what} as edited (black is edited); make the part to edit black, "
        "and the rest white"
    ]


def test_mask_edit_region_is_checked(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="mask_edit_region: 'grey'"):
        read_mask(mask_file(tmp_path / "m.png"), (30, 40), "grey")


def test_a_picture_of_the_models_size_passes_unchanged() -> None:
    image = gradient(256, 256)
    geometry = Geometry.fit(size_of(image), schedule(1, "0.06M").image_size)
    pixels = to_model(image, geometry)
    assert (pixels.shape, pixels.dtype) == ((3, 256, 256), np.float32)
    assert np.allclose(pixels, np.asarray(image).transpose(2, 0, 1) / 127.5 - 1, atol=1e-6)
    assert (geometry.top, geometry.left, geometry.height, geometry.width) == (0, 0, 256, 256)
    assert pixels.min() >= -1 and pixels.max() <= 1


@pytest.mark.parametrize("size", [(400, 300), (300, 400), (501, 503), (1000, 77), (40, 39)])
def test_crop_is_the_largest_of_the_models_shape_and_central(size: tuple[int, int]) -> None:
    image = gradient(*size)
    plan = schedule_for(size_of(image), "0.06M")
    geometry = Geometry.fit(size_of(image), plan.image_size)
    assert geometry.height == size[1] or geometry.width == size[0]
    shape = (geometry.height / geometry.width) / (plan.image_size[0] / plan.image_size[1])
    assert abs(shape - 1) < 1 / min(geometry.height, geometry.width)
    assert 0 <= size[1] - geometry.height - 2 * geometry.top <= 1
    assert 0 <= size[0] - geometry.width - 2 * geometry.left <= 1
    assert Geometry.from_dict(geometry.to_dict()) == geometry


def fitted(image: Image.Image) -> Geometry:
    plan = schedule_for(size_of(image), "0.06M")
    return Geometry.fit(size_of(image), plan.image_size)


def test_restore_gives_the_inputs_size_and_keeps_its_borders() -> None:
    image = gradient(500, 130)  # 3.8 : 1, wider than the widest ratio
    geometry = fitted(image)
    assert geometry.width < 500
    black = from_model(np.full_like(to_model(image, geometry), -1))
    result = Photograph(image).paste(black, geometry, None).pixels
    assert result.size == image.size
    inside = np.zeros((130, 500), bool)
    inside[geometry.top : geometry.top + geometry.height,
           geometry.left : geometry.left + geometry.width] = True  # fmt: skip
    assert (np.asarray(result)[inside] == 0).all()
    assert (np.asarray(result)[~inside] == np.asarray(image)[~inside]).all()


def test_there_and_back_is_close_to_the_photograph() -> None:
    image = gradient(431, 300)
    drawn = from_model(to_model(image, fitted(image)))
    result = Photograph(image).paste(drawn, fitted(image), None).pixels
    assert mean_difference(result, image) < 1.5


def test_mask_goes_through_the_same_crop() -> None:
    geometry = Geometry.fit((100, 400), (96, 288))  # model shape 1:3
    mask = np.zeros((100, 400), bool)
    mask[:, :50] = True  # exactly what the crop cuts off on the left
    assert geometry.crop_mask(mask).shape == (100, 300)
    assert not geometry.crop_mask(mask).any()


def test_png_is_deterministic_and_carries_settings(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        write_png(tmp_path / name, gradient(40, 30), settings='{"prompt": "café ☕"}')
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert read_settings(tmp_path / "a.png") == '{"prompt": "café ☕"}'
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["a.png", "b.png"]


def test_pixels_are_truncated_like_upstream() -> None:
    values = np.array([-1.2, -1, 0, 0.999, 1, 3], np.float32)
    out = np.asarray(from_model(np.broadcast_to(values, (3, 1, 6))))[0, :, 0]
    assert out.tolist() == [0, 0, 127, 254, 255, 255]
