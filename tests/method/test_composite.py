"""The generated picture in its photograph, by each setting."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from editinfinity.files.geometry import Geometry
from editinfinity.files.photograph import Photograph
from editinfinity.files.seam import detail_weight
from editinfinity.method import composite as module
from editinfinity.method.composite import Compositor
from editinfinity.settings.groups import FinishSettings

SIZE = (256, 256)
GEOMETRY = Geometry((256, 320), 0, 0, 256, 256, SIZE)


def grey(level: int, size: tuple[int, int] = SIZE) -> Image.Image:
    return Image.new("RGB", size, (level,) * 3)


def row_of(photograph: Photograph) -> np.ndarray:
    return np.asarray(photograph.pixels)[128, :, 0].astype(int)


LEFT = np.ones((64, 64), np.float32)
LEFT[:, :32] = 0


def test_the_photograph_keeps_its_pixels_where_the_mask_is_one() -> None:
    row = row_of(Compositor(Photograph(grey(50, (320, 256))), GEOMETRY, LEFT).paste(grey(200)))
    assert (row[:110] == 200).all() and (row[128:] == 50).all()


@pytest.mark.parametrize("feather", [4.0, 40.0])
def test_the_seam_has_its_width(feather: float) -> None:
    settings = FinishSettings(mask_feather=feather)
    row = row_of(
        Compositor(Photograph(grey(0, (320, 256))), GEOMETRY, LEFT, settings).paste(grey(255))
    )
    assert (row[: int(127 - feather)] == 255).all() and (row[128:] == 0).all()
    soft = ((row > 5) & (row < 250)).sum()
    assert 0.4 * feather < soft < 1.1 * feather + 1


@pytest.mark.parametrize(
    ("mask", "background"), [(LEFT, "decoded"), (None, "exact"), (None, "decoded")]
)
def test_all_of_the_crop_is_pasted_without_a_mask_or_if_wanted(
    mask: np.ndarray | None, background: str
) -> None:
    settings = FinishSettings(background=background)
    row = row_of(
        Compositor(Photograph(grey(50, (320, 256))), GEOMETRY, mask, settings).paste(grey(200))
    )
    assert (row[:240] == 200).all() and (row[256:] == 50).all()  # its own edge is a seam


def test_lost_detail_is_put_back_by_its_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []

    def weight(*arguments: Any) -> Image.Image:
        given.extend(arguments)
        return detail_weight(*arguments)

    monkeypatch.setattr(module, "detail_weight", weight)
    noise = np.random.default_rng(0).integers(90, 111, (256, 320, 1)).repeat(3, 2).astype(np.uint8)
    photograph = Photograph(Image.fromarray(noise))
    drawn = np.full((256, 256, 3), 100, np.uint8)
    drawn[100:140, 20:60] = 220
    compositor = Compositor(photograph, GEOMETRY, LEFT, FinishSettings(), grey(100))
    found = compositor.paste(Image.fromarray(drawn))
    pixels = np.asarray(found.pixels)
    assert np.array_equal(np.asarray(given[0]), drawn)
    assert np.array_equal(np.asarray(given[1]), np.asarray(grey(100)))
    assert np.array_equal(np.asarray(given[2]), noise[:, :256]) and given[3] is LEFT
    assert np.array_equal(pixels[:, 140:], noise[:, 140:])  # kept
    assert np.array_equal(pixels[:80, :100], noise[:80, :100])  # the drawing shows the same
    assert np.abs(pixels[110:130, 30:50].astype(int) - 220).max() <= 1  # changed
    plain = Compositor(photograph, GEOMETRY, LEFT).paste(Image.fromarray(drawn))
    assert (np.asarray(plain.pixels)[:80, :100] == 100).all()


@pytest.mark.parametrize(("gps", "calls"), [("keep", 0), ("drop", 1)])
def test_the_location_is_dropped_if_wanted(
    gps: str, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Photograph] = []
    monkeypatch.setattr(
        Photograph, "without_location", lambda photograph: seen.append(photograph) or photograph
    )
    settings = FinishSettings(gps=gps)
    Compositor(Photograph(grey(9, (320, 256))), GEOMETRY, None, settings).paste(grey(1))
    assert len(seen) == calls
