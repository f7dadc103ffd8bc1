import pytest

from editinfinity.scales import PIXEL_BUDGETS, SCALES_1M, ScaleSchedule, nearest_ratio, schedule


def test_there_are_fifteen_ratios_of_thirteen_scales() -> None:
    assert len(SCALES_1M) == 15
    assert {len(scales) for scales in SCALES_1M.values()} == {13}


def test_known_lengths() -> None:
    assert schedule(1, "0.06M").tokens == 521
    assert schedule(1, "1M").tokens == 10521
    assert schedule(1, "1M").image_size == (1024, 1024)


@pytest.mark.parametrize("ratio", sorted(SCALES_1M))
@pytest.mark.parametrize("budget", PIXEL_BUDGETS)
def test_last_scale_has_the_ratio(ratio: float, budget: str) -> None:
    grid = ScaleSchedule(ratio, budget).grid
    assert grid[0] / grid[1] == pytest.approx(ratio, rel=0.05)
    tall = ScaleSchedule(ratio, budget).scales
    wide = schedule(1 / ratio, budget).scales
    assert wide == tuple((w, h) for h, w in tall)


def test_patchify_doubles_the_tokenizers_grids() -> None:
    folded = schedule(1.5, "0.25M", patchify=True)
    assert folded.tokenizer_scales[3] == (2 * folded.scales[3][0], 2 * folded.scales[3][1])
    assert folded.image_size == schedule(1.5, "0.25M").image_size


@pytest.mark.parametrize(
    ("height", "width", "ratio"),
    [(1000, 1000, 1.0), (480, 640, 0.75), (3000, 4000, 0.75), (1, 9000, 0.333), (200, 100, 2.0)],
)
def test_nearest_ratio(height: int, width: int, ratio: float) -> None:
    assert nearest_ratio(height, width) == ratio


def test_impossible_schedules_are_refused() -> None:
    with pytest.raises(ValueError, match=r"1\.1"):
        ScaleSchedule(1.1, "1M")
    with pytest.raises(ValueError, match="2M"):
        ScaleSchedule(1.0, "2M")
    with pytest.raises(ValueError, match="0×5"):
        nearest_ratio(0, 5)
