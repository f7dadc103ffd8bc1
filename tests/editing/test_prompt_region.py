"""From a soft map to cells: threshold, edge-aware filter and cleaning, against plain references."""

from __future__ import annotations

import numpy as np
import pytest

from editinfinity.editing import prompt_region
from editinfinity.editing.prompt_region import (
    cells_of_soft_map,
    guided_filter,
    otsu_threshold,
)

RNG = np.random.default_rng(0)
FLAT = np.full((256, 256, 3), 128, np.uint8)


def soft_square(side: int = 20, blur: float = 0.0) -> np.ndarray:
    soft = np.zeros((64, 64), np.float32)
    soft[20 : 20 + side, 20 : 20 + side] = 1
    noise = RNG.random((64, 64)).astype(np.float32)
    return soft + blur * noise


def test_otsu_maximises_the_variance_between_the_classes() -> None:
    values = np.concatenate([RNG.normal(0.2, 0.1, 700), RNG.normal(0.8, 0.1, 200)])

    def variance(threshold: float) -> float:
        low, high = values[values <= threshold], values[values > threshold]
        if not low.size or not high.size:
            return 0.0
        return low.size * high.size * (low.mean() - high.mean()) ** 2

    best = max(variance(t) for t in np.linspace(values.min(), values.max(), 2000))
    found = otsu_threshold(values.astype(np.float32))
    assert 0.35 < found < 0.65 and variance(found) > 0.999 * best


def test_a_constant_map_selects_nothing() -> None:
    for value in (0.0, 0.3):
        soft = np.full((64, 64), value, np.float32)
        for threshold in (None, 0.5):
            assert not cells_of_soft_map(soft, FLAT, threshold).any()


def reference_filter(values: np.ndarray, guide: np.ndarray, radius: int) -> np.ndarray:
    """The guided filter, window by window."""
    height, width = values.shape
    slopes, offsets = np.zeros((height, width, 3)), np.zeros((height, width))

    def window(y: int, x: int) -> tuple[slice, slice]:
        return (slice(max(0, y - radius), y + radius + 1),
                slice(max(0, x - radius), x + radius + 1))  # fmt: skip

    for y in range(height):
        for x in range(width):
            colours, part = guide[window(y, x)].reshape(-1, 3), values[window(y, x)].ravel()
            covariance = np.cov(colours.T, bias=True) + 1e-4 * np.eye(3)
            with_values = ((colours - colours.mean(0)) * (part - part.mean())[:, None]).mean(0)
            slopes[y, x] = np.linalg.solve(covariance, with_values)
            offsets[y, x] = part.mean() - slopes[y, x] @ colours.mean(0)
    result = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            slope = slopes[window(y, x)].reshape(-1, 3).mean(0)
            result[y, x] = slope @ guide[y, x] + offsets[window(y, x)].mean()
    return result


def test_the_filter_is_the_guided_filter_with_a_radius_of_12_of_64_cells() -> None:
    values, guide = RNG.random((18, 14)).astype(np.float32), RNG.random((18, 14, 3))
    radius = round(12 / 64 * np.sqrt(18 * 14))
    assert radius == 3
    assert np.allclose(guided_filter(values, guide), reference_filter(values, guide, 3), atol=1e-5)


def test_the_radius_of_the_filter_is_at_least_one_cell() -> None:
    for size in (2, 5):
        values, guide = RNG.random((size, size)).astype(np.float32), RNG.random((size, size, 3))
        expected = reference_filter(values, guide, 1)
        assert np.allclose(guided_filter(values, guide), expected, atol=1e-5)


def edges(left: int, right: int) -> np.ndarray:
    """A photograph of 256² with a red part from cell ``left`` to ``right``."""
    pixels = np.full((256, 256, 3), 90, np.uint8)
    pixels[4 * left : 4 * right, 4 * left : 4 * right] = (220, 30, 30)
    return pixels


def test_the_region_follows_the_edges_of_the_photograph_if_wanted() -> None:
    soft = soft_square(20, 0.2)
    plain = cells_of_soft_map(soft, edges(19, 40), follow_edges=False)
    along = cells_of_soft_map(soft, edges(19, 40))
    assert plain.sum() == 400
    expected = np.zeros((64, 64), bool)
    expected[19:40, 19:40] = True
    assert (along == expected).mean() > 0.99 and along.sum() > 425


def test_a_filter_that_leaks_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    soft, photograph = soft_square(20, 0.2), edges(14, 46)  # 32² cells, 2.56 times as many
    assert cells_of_soft_map(soft, photograph).sum() == 400
    monkeypatch.setattr(prompt_region, "MAX_FILTER_GROWTH", 9)
    assert cells_of_soft_map(soft, photograph).sum() > 600


@pytest.mark.parametrize(("cells", "used"), [(480, True), (481, False)])
def test_a_filter_leaks_from_a_fifth_more_cells_on(
    cells: int, used: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    filtered = np.zeros((64, 64), np.float32)
    filtered[20:44, 20:40] = 1
    filtered[44, 20 : 20 + cells - 480] = 1
    monkeypatch.setattr(prompt_region, "guided_filter", lambda *_: filtered)
    assert cells_of_soft_map(soft_square(20, 0.0), FLAT).sum() == (cells if used else 400)
    monkeypatch.setattr(prompt_region, "guided_filter", lambda *_: 0 * filtered)
    assert cells_of_soft_map(soft_square(20, 0.0), FLAT).sum() == 400  # nothing is left of it


def test_the_guide_is_the_photograph_on_the_grid_in_parts_of_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[np.ndarray] = []
    monkeypatch.setattr(
        prompt_region, "guided_filter", lambda soft, guide: given.append(guide) or soft
    )
    pixels = RNG.integers(0, 256, (256, 128, 3)).astype(np.uint8)
    soft = np.zeros((64, 32), np.float32)
    soft[10:20, 10:20] = 1
    cells_of_soft_map(soft, pixels)
    expected = pixels.reshape(64, 4, 32, 4, 3).mean((1, 3)) / 255
    assert np.allclose(given[0], expected, atol=1e-5)


def test_otsu_has_256_bins() -> None:
    """All thresholds between two values are as good; the first one is the border of a bin."""
    assert otsu_threshold(np.array([0, 0, 1], np.float32)) == pytest.approx(1 / 256)
    assert otsu_threshold(np.array([2, 4, 4], np.float32)) == pytest.approx(2 + 2 / 256)


def test_one_value_may_be_a_class() -> None:
    assert otsu_threshold(np.array([0, 0.1, 0.1, 0.1, 1], np.float32)) > 0.1
    assert otsu_threshold(np.array([0, 0.9, 0.9, 0.9, 1], np.float32)) < 0.9


def test_one_cell_is_a_part_and_not_its_surroundings() -> None:
    soft = np.zeros((64, 64), np.float32)
    soft[8, 8] = 1
    assert np.argwhere(cells_of_soft_map(soft, FLAT, follow_edges=False)).tolist() == [[8, 8]]


def test_only_large_parts_count_and_holes_are_filled() -> None:
    soft = np.zeros((64, 64), np.float32)
    soft[4:14, 4:14] = 1  # 100 cells
    soft[8, 8] = 0
    soft[30:40, 30:35] = 1  # 50, at least half of the largest without its hole
    soft[50:59, 50:55] = 1  # 45, less
    cells = cells_of_soft_map(soft, FLAT, 0.5, follow_edges=False)
    assert cells[4:14, 4:14].all() and cells[30:40, 30:35].all() and not cells[45:].any()
    assert cells.sum() == 150


def test_a_threshold_is_a_share_of_the_range() -> None:
    soft = 5 + np.tile(np.arange(64, dtype=np.float32), (64, 1))
    for share, columns in ((0.25, 48), (0.75, 16)):
        assert cells_of_soft_map(soft, FLAT, share, follow_edges=False).sum() == 64 * columns
