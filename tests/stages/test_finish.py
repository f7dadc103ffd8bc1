"""Stage finish: the photograph comes back with only the masked part changed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from editinfinity.errors import UserError
from editinfinity.files.cropping import crop_around, region_text
from editinfinity.files.features import ImageFeatures
from editinfinity.files.images import write_png
from editinfinity.files.maps import KERNEL, load_map
from editinfinity.files.masks import read_mask
from editinfinity.files.writing import read_settings
from editinfinity.stages.edit import edit
from editinfinity.stages.finish import finish
from editinfinity.stages.image_features import extract_image_features
from editinfinity.stages.kernel import make_kernel
from editinfinity.stages.rendering import render_photograph

from .conftest import TINY, Worked


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A noisy photograph of 1600×1000 with a mask and all that it takes to finish an edit."""
    folder = tmp_path_factory.mktemp("large")
    noise = np.random.default_rng(0).integers(0, 256, (1000, 1600, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "photo.png")
    mask = Image.new("L", (1600, 1000), 255)
    mask.paste(0, (1000, 400, 1120, 500))
    mask.save(folder / "mask.png")
    return folder


def drawn(large: Path, worked: Worked, crop: str = "full") -> tuple[ImageFeatures, Path]:
    """An edit of the tiny model under the mask; (its features, its folder)."""
    folder = large / crop
    if not folder.exists():
        features, kernel = folder / "image.st", folder / "kernel.st"
        extract_image_features(image=large / "photo.png", output=features, model=TINY, crop=crop)
        make_kernel(image_features=features, mask=large / "mask.png", output=kernel)
        edit(
            image_features=features,
            text_features=worked.edit_text,
            kernel=kernel,
            output=folder / "edited.png",
            settings=folder / "edited.json",
            model=TINY,
        )
    return ImageFeatures.load(folder / "image.st"), folder


@pytest.mark.parametrize("crop", ["full", "320,960,256,256"])
def test_unmasked_pixels_are_identical(large: Path, worked: Worked, crop: str) -> None:
    features, folder = drawn(large, worked, crop)
    given = {"edited": folder / "edited.png", "image": large / "photo.png"}
    finish(**given, kernel=folder / "kernel.st", background="exact", output=folder / "exact.png")
    before = np.asarray(Image.open(large / "photo.png"))
    after = np.asarray(Image.open(folder / "exact.png"))
    kernel, _ = load_map(folder / "kernel.st", KERNEL, features.schedule.reference_grid)
    g = features.geometry
    rows = ((np.arange(g.height) + 0.5) * kernel.shape[0] / g.height).astype(int)
    columns = ((np.arange(g.width) + 0.5) * kernel.shape[1] / g.width).astype(int)
    kept = np.ones(before.shape[:2], bool)
    kept[g.top : g.top + g.height, g.left : g.left + g.width] = (kernel == 1)[rows][:, columns]
    assert 0.5 < kept.mean() < 1
    assert (before[kept] == after[kept]).all()
    assert (before[400:500, 1000:1120] != after[400:500, 1000:1120]).mean() > 0.9
    # As far as docs/photographs.md says beyond the mask, and farther than the mask itself.
    changed = (before != after).any(axis=2)
    cell = g.height / kernel.shape[0]
    for cells, reached in ((0.5, True), (5, False)):
        margin = round(cells * cell)
        beyond = np.ones_like(changed)
        beyond[400 - margin : 500 + margin, 1000 - margin : 1120 + margin] = False
        assert (changed & beyond).any() == reached

    # The same pixels stay with detail, the default, and all others where the edit shows what was
    # there before.
    render_photograph(
        image_features=folder / "image.st", output=folder / "rendering.png", model=TINY
    )
    detail = {"rendering": folder / "rendering.png"}
    finish(**given, **detail, kernel=folder / "kernel.st", output=folder / "detail.png")
    restored = np.asarray(Image.open(folder / "detail.png"))
    assert (before[kept] == restored[kept]).all() and (restored != after).any()
    assert '"background": "detail"' in (read_settings(folder / "detail.png") or "")
    rendering, settings = Image.open(folder / "rendering.png"), read_settings(folder / "edited.png")
    write_png(folder / "same.png", rendering, settings)
    for kernels in ({"kernel": folder / "kernel.st"}, {}):
        same = {**given, "edited": folder / "same.png", "output": folder / "same done.png"}
        finish(**same, **detail, **kernels)
        assert (np.asarray(Image.open(folder / "same done.png")) == before).all()

    # The method's own background is the model's, wherever the model saw the photograph.
    finish(
        **given, kernel=folder / "kernel.st", background="decoded", output=folder / "decoded.png"
    )
    after = np.asarray(Image.open(folder / "decoded.png"))
    seen = np.zeros(kept.shape, bool)
    seen[g.top + 9 : g.top + g.height - 9, g.left + 9 : g.left + g.width - 9] = True
    assert (before[kept & seen] != after[kept & seen]).mean() > 0.9
    assert '"background": "decoded"' in (read_settings(folder / "decoded.png") or "")


def test_detail_needs_the_rendering_of_the_same_photograph(
    large: Path, worked: Worked, tmp_path: Path
) -> None:
    _, folder = drawn(large, worked, "320,960,256,256")
    given = {"edited": folder / "edited.png", "image": large / "photo.png"}
    with pytest.raises(UserError, match="add --rendering RENDERING.png, or --background exact"):
        finish(**given, output=tmp_path / "x.png")
    Image.new("RGB", (256, 272)).save(tmp_path / "other.png")
    with pytest.raises(UserError, match="render the same photograph"):
        finish(**given, rendering=tmp_path / "other.png", output=tmp_path / "x.png")
    assert not (tmp_path / "x.png").exists()


def test_a_crop_is_seen_at_full_detail(large: Path, worked: Worked) -> None:
    features, _ = drawn(large, worked, "320,960,256,256")
    photo = np.asarray(Image.open(large / "photo.png"))
    assert (features.pixels == photo[320:576, 960:1216]).all()
    assert features.geometry.image_size == (1000, 1600)


def test_a_crop_in_the_very_middle_fits_back(worked: Worked, tmp_path: Path) -> None:
    """It lies where a whole photograph of its shape would, though this one is of another."""
    features, edited = tmp_path / "image.st", tmp_path / "edited.png"
    crop = "0,32,256,256"  # of 320×256
    extract_image_features(image=worked.photograph, output=features, model=TINY, crop=crop)
    edit(
        image_features=features,
        text_features=worked.edit_text,
        output=edited,
        settings=tmp_path / "edited.json",
        model=TINY,
    )
    done = tmp_path / "done.png"
    finish(edited=edited, image=worked.photograph, background="exact", output=done)
    before = np.asarray(Image.open(worked.photograph))
    after = np.asarray(Image.open(done))
    assert (before[:, :32] == after[:, :32]).all() and (before[:, 288:] == after[:, 288:]).all()
    assert (before[:, 48:272] != after[:, 48:272]).mean() > 0.9


def test_a_crop_belongs_to_its_photograph(large: Path, worked: Worked, tmp_path: Path) -> None:
    _, folder = drawn(large, worked, "320,960,256,256")
    Image.open(large / "photo.png").resize((800, 500)).save(tmp_path / "half.png")
    with pytest.raises(UserError, match="edit that photograph again"):
        finish(
            edited=folder / "edited.png", image=tmp_path / "half.png", background="exact",
            output=tmp_path / "x.png",
        )  # fmt: skip


@pytest.mark.parametrize("left", [0, 1600])
def test_the_end_of_a_panorama_is_edited_with_an_automatic_crop(
    worked: Worked, tmp_path: Path, left: int
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 1800, 3), dtype=np.uint8)
    image, mask, features, kernel = (
        tmp_path / name for name in ("photo.png", "mask.txt", "image.st", "kernel.st")
    )
    Image.fromarray(noise).save(image)
    mask.write_text(f"{left},20,200,160")
    crop = region_text(crop_around([read_mask(mask, (200, 1800))], "0.06M"))
    extract_image_features(image=image, output=features, model=TINY)
    with pytest.raises(UserError, match=r"mask\.txt: lies outside the part .* set crop: auto"):
        make_kernel(image_features=features, mask=mask, output=kernel)
    assert not kernel.exists()
    extract_image_features(image=image, output=features, model=TINY, crop=crop)
    make_kernel(image_features=features, mask=mask, output=kernel)
    edited = tmp_path / "edited.png"
    edit(
        image_features=features, text_features=worked.edit_text, kernel=kernel, output=edited,
        settings=tmp_path / "edited.json", model=TINY,
    )  # fmt: skip
    exact = {"background": "exact", "output": tmp_path / "done.png"}
    finish(edited=edited, image=image, kernel=kernel, **exact)
    changed = (np.asarray(Image.open(tmp_path / "done.png")) != noise).any(axis=2)
    inside = changed[30:170, left + 10 : left + 190]
    assert inside.mean() > 0.9 and inside.sum() > 0.5 * changed.sum()


def test_a_mask_that_reaches_beyond_the_view_is_told_of(
    worked: Worked, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Image.new("RGB", (1800, 200), (90, 120, 90)).save(tmp_path / "photo.png")
    (tmp_path / "mask.txt").write_text("0,20,1200,160")
    features = tmp_path / "image.st"
    extract_image_features(image=tmp_path / "photo.png", output=features, model=TINY)
    make_kernel(image_features=features, mask=tmp_path / "mask.txt", output=tmp_path / "kernel.st")
    told = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert len(told) == 1 and "mask.txt: 50 % of the marked area is outside the part of" in told[0]


def test_a_crop_in_the_middle_is_no_whole_photograph(worked: Worked, tmp_path: Path) -> None:
    """Even where it is as large a crop of its shape as the photograph has."""
    Image.new("RGB", (640, 640), (90, 120, 90)).save(tmp_path / "photo.png")
    features, edited = tmp_path / "image.st", tmp_path / "edited.png"
    extract_image_features(
        image=tmp_path / "photo.png", output=features, model=TINY, crop="160,0,320,640"
    )
    edit(
        image_features=features, text_features=worked.edit_text, output=edited,
        settings=tmp_path / "edited.json", model=TINY,
    )  # fmt: skip
    exact = {"background": "exact", "output": tmp_path / "done.png"}
    finish(edited=edited, image=tmp_path / "photo.png", **exact)
    assert Image.open(tmp_path / "done.png").getpixel((320, 10)) == (90, 120, 90)


@pytest.mark.parametrize(("option", "value"), [("background", "blurred"), ("gps", "remove")])
def test_values_that_are_none_are_one_line_and_nothing_is_written(
    large: Path, worked: Worked, tmp_path: Path, option: str, value: str
) -> None:
    _, folder = drawn(large, worked, "320,960,256,256")
    words = [
        "stage", "finish", "--edited", folder / "edited.png", "--image", large / "photo.png",
        "--output", tmp_path / "x.png", f"--{option}", value,
    ]  # fmt: skip
    ran = subprocess.run(
        [sys.executable, "-m", "editinfinity", *map(str, words)], capture_output=True, text=True
    )
    assert ran.returncode != 0 and not (tmp_path / "x.png").exists()
    assert ran.stderr.count("\n") == 1 and f"{option}: must be one of" in ran.stderr
