"""The blend mask against recordings, and its rules on masks small enough to read."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from editinfinity.editing.blend_mask import (
    SMOOTHINGS,
    cell_means,
    cells_of_attention,
    edited_cells,
    make_blend_mask,
    manhattan_distance,
    resample_blend_mask,
)
from editinfinity.errors import UserError

RECORDED = Path(__file__).parents[1] / "parity_data" / "smoothing"
NAMES = sorted(path.stem for path in RECORDED.glob("*.png"))


def square_mask(side: int, top: int, left: int, height: int, width: int) -> np.ndarray:
    mask = np.zeros((side, side), dtype=bool)
    mask[top : top + height, left : left + width] = True
    return mask


def test_the_recordings_are_there() -> None:
    assert NAMES == sorted(load_file(RECORDED / "weights.safetensors"))
    assert len(NAMES) == 5


@pytest.mark.parametrize("name", NAMES)
def test_linear_equals_the_recorded_kernel_exactly(name: str) -> None:
    mask = np.asarray(Image.open(RECORDED / f"{name}.png").convert("L")) <= 128
    blend_mask = make_blend_mask(mask, (64, 64), "linear")
    recorded = load_file(RECORDED / "weights.safetensors")[name]
    assert blend_mask.dtype == recorded.dtype == np.float32
    assert np.array_equal(blend_mask, recorded)


@pytest.mark.parametrize("pixels, edited", [(12, False), (13, True)])
def test_a_cell_is_edited_from_twenty_percent_of_its_pixels(pixels: int, edited: bool) -> None:
    mask = np.zeros((8, 8), dtype=bool)
    mask.reshape(-1)[:pixels] = True
    assert edited_cells(mask, (1, 1)).item() is edited


def test_exactly_twenty_percent_is_edited() -> None:
    mask = np.zeros((10, 10), dtype=bool)
    mask[:2] = True
    assert edited_cells(mask, (1, 1)).item() is True


def test_just_less_than_twenty_percent_is_not_edited() -> None:
    mask = np.zeros(1000, bool)
    mask[:199] = True
    assert not edited_cells(mask.reshape(40, 25), (1, 1)).any()


def test_sides_that_do_not_divide_use_exact_area_fractions() -> None:
    # 3 rows over 2 cells: each cell is 1.5 rows, the middle row counts half for both.
    mask = np.array([[False], [True], [False]])
    assert edited_cells(mask, (2, 1)).tolist() == [[True], [True]]  # 0.5 / 1.5 = 33 %
    # 7 rows over 2 cells: the middle row is 0.5 / 3.5 = 14 % of each.
    mask = np.zeros((7, 1), dtype=bool)
    mask[3] = True
    assert not edited_cells(mask, (2, 1)).any()


def test_distance_is_manhattan() -> None:
    cells = np.zeros((9, 7), dtype=bool)
    cells[2, 5] = cells[8, 0] = True
    rows, columns = np.indices(cells.shape)
    expected = np.minimum(abs(rows - 2) + abs(columns - 5), abs(rows - 8) + abs(columns - 0))
    assert np.array_equal(manhattan_distance(cells), expected)


@pytest.mark.parametrize(
    "smoothing, along_row",
    [
        ("linear", [0, 0, 0.25, 0.5, 0.75, 1, 1]),
        ("paper", [0, 0, 1 / 3, 2 / 3, 1, 1, 1]),
        ("hard", [0, 0, 1, 1, 1, 1, 1]),
        ("none", [0, 1, 1, 1, 1, 1, 1]),
    ],
)
def test_ramp_of_each_smoothing(smoothing: str, along_row: list[float]) -> None:
    mask = square_mask(64, 32, 32, 1, 1)
    blend_mask = make_blend_mask(mask, (64, 64), smoothing)
    assert np.allclose(blend_mask[32, 32:39], along_row, atol=1e-7)
    assert np.array_equal(blend_mask[32, 32:], blend_mask[32:, 32])


def test_linear_turns_hard_from_six_coarse_blocks() -> None:
    ramp = make_blend_mask(
        square_mask(64, 0, 0, 16, 64) | square_mask(64, 16, 0, 16, 16), (64, 64), "linear"
    )  # 5 blocks
    assert np.any((ramp > 0) & (ramp < 1))
    hard = make_blend_mask(
        square_mask(64, 0, 0, 16, 64) | square_mask(64, 16, 0, 16, 32), (64, 64), "linear"
    )  # 6 blocks
    assert set(np.unique(hard)) == {0.0, 1.0}


def test_gaussian_keeps_edited_cells_free_and_fades_to_the_source() -> None:
    mask = square_mask(64, 20, 20, 8, 12)
    blend_mask = make_blend_mask(mask, (64, 64), "gaussian")
    assert np.all(blend_mask[mask] == 0)
    assert np.all(np.diff(blend_mask[24, 31:40]) >= 0)
    assert 0 < blend_mask[24, 33] < 1
    assert np.all(blend_mask[40:, 40:] == 1)


@pytest.mark.parametrize(("smoothing", "neighbours"), [("gaussian", 0), ("dilated", 1)])
def test_the_blur_has_a_deviation_of_one_and_a_half_cells(smoothing: str, neighbours: int) -> None:
    from scipy.ndimage import binary_dilation, gaussian_filter

    mask = square_mask(64, 20, 0, 8, 12) | square_mask(64, 50, 30, 1, 1)
    free = binary_dilation(mask, iterations=neighbours) if neighbours else mask
    blurred = gaussian_filter(free.astype(float), 1.5, truncate=4, mode="reflect")
    expected = np.clip(1 - blurred / blurred[free].min(), 0, 1)
    assert np.allclose(make_blend_mask(mask, (64, 64), smoothing), expected, atol=1e-6)


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_no_edited_cell_keeps_everything_and_all_edited_frees_everything(smoothing: str) -> None:
    assert np.all(make_blend_mask(np.zeros((64, 64), bool), (64, 64), smoothing) == 1)
    freed = make_blend_mask(np.ones((64, 64), bool), (64, 64), smoothing)
    # The blur of bitresedit has zeros beyond the borders, as published.
    assert np.all(freed[2:-2, 2:-2] == 0) and np.all(freed == 0) == (smoothing != "bitresedit")


def bilinear(values: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Sample at the centres of a grid's cells, each from the four nearest values."""
    sampled = np.zeros(grid)
    for i, j in np.ndindex(grid):
        y, x = (
            min(max((at + 0.5) * size / cells - 0.5, 0), size - 1)
            for at, size, cells in zip((i, j), values.shape, grid, strict=True)
        )
        for row in (int(y), int(y) + 1):
            for column in (int(x), int(x) + 1):
                share = max(0, 1 - abs(y - row)) * max(0, 1 - abs(x - column))
                if share:
                    sampled[i, j] += share * values[row, column]
    return sampled


@pytest.mark.parametrize("shape", [(150, 96), (64, 64), (31, 200)])
def test_the_gate_of_bitresedit_is_the_published_one(shape: tuple[int, int]) -> None:
    mask = np.zeros(shape, bool)
    # The last one is dilated to all rows but the last, which larger grids repeat.
    mask[3:20, -40:] = mask[25, 30] = mask[-5, 5] = True
    high, wide = shape
    dilated = np.array(
        [
            [mask[max(i - 3, 0) : i + 4, max(j - 3, 0) : j + 4].any() for j in range(wide)]
            for i in range(high)
        ],
        float,
    )
    grid = (70, 56)
    small = np.pad(bilinear(dilated, grid), 2)
    taps = np.exp(-np.array([4, 1, 0, 1, 4]) / 8)
    kernel = np.outer(taps, taps) / taps.sum() ** 2
    blurred = np.array(
        [[(kernel * small[i : i + 5, j : j + 5]).sum() for j in range(56)] for i in range(70)]
    )
    blend_mask = make_blend_mask(mask, grid, "bitresedit")
    assert np.allclose(blend_mask, 1 - blurred / blurred.max(), atol=1e-6)
    assert blend_mask.min() == 0 and (blend_mask == 1).any()


def test_unknown_smoothing_names_the_choices() -> None:
    with pytest.raises(UserError, match="smoothing: there is no 'cubic'.*gaussian"):
        make_blend_mask(np.ones((4, 4), bool), (4, 4), "cubic")


def test_kernel_is_averaged_down_and_repeated_up() -> None:
    blend_mask = np.arange(16, dtype=np.float32).reshape(4, 4) / 7
    assert np.array_equal(resample_blend_mask(blend_mask, (4, 4)), blend_mask)
    down = blend_mask.reshape(2, 2, 2, 2).mean((1, 3))
    assert np.allclose(resample_blend_mask(blend_mask, (2, 2)), down, atol=1e-7)
    assert np.array_equal(
        resample_blend_mask(blend_mask, (8, 8)), blend_mask.repeat(2, 0).repeat(2, 1)
    )


def test_resampling_between_grids_that_do_not_divide_keeps_the_mean() -> None:
    blend_mask = np.random.default_rng(0).random((111, 37), dtype=np.float32)
    down = resample_blend_mask(blend_mask, (27, 9))
    assert down.shape == (27, 9)
    assert np.isclose(down.mean(), blend_mask.mean(), atol=1e-6)


def test_cells_of_attention_are_relative_to_its_range() -> None:
    attention = np.array([[0.1, 0.2], [0.21, 0.3]], dtype=np.float32)
    assert cells_of_attention(attention).tolist() == [[False, False], [True, True]]
    assert cells_of_attention(attention, 0.9).tolist() == [[False, False], [False, True]]
    assert not cells_of_attention(np.full((2, 2), 0.3, dtype=np.float32)).any()


@pytest.mark.parametrize("size", [(64, 64), (65, 200), (97, 71), (64, 31)])
def test_cells_of_a_mask_are_summed_exactly(size: tuple[int, int]) -> None:
    mask = np.random.default_rng(0).random(size) < 0.3
    # One pixel at a time: its overlap with each cell, in units of 1/(64·64) pixel.
    expected = np.zeros((64, 64))
    rows, columns = (
        np.maximum(
            0,
            np.minimum.outer(np.arange(1, 65) * side, np.arange(1, side + 1) * 64)
            - np.maximum.outer(np.arange(64) * side, np.arange(side) * 64),
        )
        for side in size
    )
    for top, left in np.argwhere(mask):
        expected += np.outer(rows[:, top], columns[:, left])
    assert np.array_equal(cell_means(mask, (64, 64)), (expected / mask.size).astype(np.float32))
