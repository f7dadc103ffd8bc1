"""The region of an edit and its kernel, in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from editinfinity.errors import UserError
from editinfinity.files.geometry import Geometry
from editinfinity.files.maps import PromptMaps
from editinfinity.method.locate import (
    blend_mask_of,
    mask_picture,
    region_of_attention,
    region_of_blend,
    region_of_mask,
    region_of_prompts,
)
from editinfinity.scales import reference_grid, schedule
from editinfinity.settings.groups import MaskSettings

SCALES = schedule(1, "0.06M")
GEOMETRY = Geometry.within((300, 400), (0, 0, 300, 300), SCALES.image_size)


def mask_of(left: int, right: int) -> np.ndarray:
    mask = np.zeros((300, 400), bool)
    mask[100:200, left:right] = True
    return mask


def test_a_mask_beyond_the_crop_is_told_of_or_refused(caplog: pytest.LogCaptureFixture) -> None:
    inside = region_of_mask(mask_of(100, 200), GEOMETRY, Path("m.png"))
    assert inside.out_of_view == 0 and inside.edited.shape == (300, 300)
    blend_mask = blend_mask_of(inside, SCALES, "hard")
    assert blend_mask.shape == (64, 64) and blend_mask.min() == 0 and caplog.messages == []
    half = region_of_mask(mask_of(250, 350), GEOMETRY, Path("m.png"))
    assert half.out_of_view == 0.5
    blend_mask_of(half, SCALES, "hard")
    assert caplog.messages == [
        "m.png: 50 % of the marked area is outside the part of the photograph that the model "
        "sees and stays unchanged"
    ]
    beyond = region_of_mask(mask_of(310, 350), GEOMETRY, object())
    with pytest.raises(UserError, match="mask: lies outside the part"):
        blend_mask_of(beyond, SCALES, "hard")


@pytest.mark.parametrize(("left", "told"), [(201, False), (202, True)])
def test_two_hundredths_beyond_the_crop_are_told(
    left: int, told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    blend_mask_of(region_of_mask(mask_of(left, left + 100), GEOMETRY, "m.png"), SCALES, "hard")
    assert bool(caplog.messages) is told


@pytest.mark.parametrize(("value", "told"), [(0.4, False), (0.5, False), (0.51, True)])
def test_an_edit_of_less_than_half_is_told(
    value: float, told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    own = np.ones((64, 64), np.float32)
    own[16:24, 16:24] = value
    region = region_of_blend(own, Path("blend.npy"))
    assert region.name == Path("blend.npy") and region.edited.sum() == (64 if value < 0.5 else 0)
    assert np.array_equal(region.heat_map, 1 - own)
    assert blend_mask_of(region, SCALES, "linear") is own
    assert [message.partition(": ")[2][:16] for message in caplog.messages] == (
        ["marks too little"] if told else []
    )


def test_a_blend_of_zeros_is_told(caplog: pytest.LogCaptureFixture) -> None:
    region = region_of_blend(np.zeros((64, 64), np.float32), object())
    blend_mask_of(region, SCALES, "linear")
    assert caplog.messages == [
        "blend: is 0 in every cell, so the whole picture may change; 1 keeps"
    ]


def test_the_picture_of_a_region_is_black_where_the_photograph_may_change() -> None:
    region = region_of_mask(mask_of(100, 200), GEOMETRY, "m.png", ["a notice"])
    assert region.name == "m.png" and region.notices == ("a notice",)
    picture = np.asarray(mask_picture(region, GEOMETRY))
    assert picture.shape == (300, 400)
    assert np.array_equal(picture == 0, mask_of(100, 200)) and set(np.unique(picture)) == {0, 255}
    assert np.array_equal(region.heat_map, region.edited.astype(np.float32))
    own = np.ones((3, 3), np.float32)
    own[1, 1] = 0.9  # may change a little
    beside = Geometry((300, 500), 0, 100, 300, 300, SCALES.image_size)
    picture = np.asarray(mask_picture(region_of_blend(own, "b"), beside))
    expected = np.zeros((300, 500), bool)
    expected[100:200, 200:300] = True
    assert np.array_equal(picture == 0, expected)


def test_a_notice_and_a_warning_are_both_told_except_of_an_empty_mask(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for width, lines in ((1, 2), (0, 1)):
        caplog.clear()
        mask = mask_of(100, 100 + width)
        mask[:101] = False  # of at most one pixel
        mask[102:] = False
        blend_mask_of(region_of_mask(mask, GEOMETRY, "m.png", ["a notice"]), SCALES, "none")
        assert caplog.messages[0] == "a notice" and len(caplog.messages) == lines
    blend_mask_of(region_of_mask(mask, GEOMETRY, "m.png"), SCALES, "none")
    assert "marks too little" in caplog.messages[-1]


def test_a_users_mask_may_be_everything(caplog: pytest.LogCaptureFixture) -> None:
    inside = Geometry.within((300, 300), None, SCALES.image_size)
    region = region_of_mask(np.ones((300, 300), bool), inside, "m.png")
    assert not blend_mask_of(region, SCALES, "linear").any() and caplog.messages == []


def test_attention_that_leaves_too_little_says_what_to_lower(
    caplog: pytest.LogCaptureFixture,
) -> None:
    attention = np.zeros((64, 64), np.float32)
    attention[10, 10] = 1
    region = region_of_attention(attention, 0.5, "cup")
    assert region.attention is attention and region.edited.sum() == 1
    blend_mask_of(region, SCALES, "none")
    (message,) = caplog.messages
    assert message.startswith("the attention of 'cup': marks too little")
    assert message.endswith("; lower attention_threshold")


def test_attention_is_cut_at_its_threshold() -> None:
    attention = np.tile(np.arange(64, dtype=np.float32), (64, 1))
    for threshold, columns in ((0.25, 48), (0.75, 16)):
        region = region_of_attention(attention, threshold, "cup")
        assert region.edited.sum() == 64 * columns and region.heat_map is attention


def maps_of(soft: np.ndarray, words: np.ndarray | None = None, **more: object) -> PromptMaps:
    return PromptMaps(soft, words, (), (), **{"is_addition": False, **more})  # type: ignore[arg-type]


PIXELS = np.full((256, 256, 3), 90, np.uint8)


def test_a_found_place_that_is_nothing_or_everything_says_what_to_set(
    caplog: pytest.LogCaptureFixture,
) -> None:
    soft = np.zeros((64, 64), np.float32)
    nothing = region_of_prompts(maps_of(soft), "bits", PIXELS, MaskSettings())
    assert not nothing.edited.any() and blend_mask_of(nothing, SCALES, "linear").all()
    soft[1:63, 1:63] = 1
    everything = region_of_prompts(
        maps_of(soft), "bits", PIXELS, MaskSettings(prompt_map_filter=False)
    )
    assert everything.edited.all()
    blend_mask_of(everything, SCALES, "linear")
    assert caplog.messages == [
        "the place found from the prompts: marks too little for a visible edit, so the picture "
        "stays unchanged; set prompt_map_threshold (lower finds more), or give a mask",
        "the place found from the prompts is the whole picture; set prompt_map_threshold (higher "
        "finds less), or give a mask",
    ]


def test_a_found_place_follows_its_settings(caplog: pytest.LogCaptureFixture) -> None:
    soft = np.zeros((64, 64), np.float32)
    soft[20:40, 20:40] = 0.3
    soft[25:35, 25:35] = 1
    pixels = PIXELS.copy()
    pixels[76:160, 76:160] = (220, 30, 30)  # cells 19 to 39

    def found(maps: PromptMaps | None = None, source: str = "bits", **settings: object) -> int:
        maps = maps or maps_of(soft)
        region = region_of_prompts(maps, source, pixels, MaskSettings(**settings))  # type: ignore
        assert region.heat_map is region.attention
        return int(region.edited.sum())

    plain = {"prompt_map_filter": False, "prompt_map_grow": 0}
    assert found(**plain) == 100
    assert found(**plain, prompt_map_threshold=0.2) == 400
    assert found(prompt_map_filter=False) == 12**2  # one cell on each side
    assert found(prompt_map_grow=0, prompt_map_threshold=0.2) > 425  # along the edges
    addition = maps_of(soft, is_addition=True)
    assert found(addition, prompt_map_grow=0, prompt_map_threshold=0.2) == 400
    assert caplog.messages == []
    assert found(source="both", **plain) == 100
    assert caplog.messages == [
        "no word differs between the prompts, so the place is found from the bits alone"
    ]


def test_both_is_the_product_of_the_maps() -> None:
    bits, words = np.random.default_rng(0).random((2, 64, 64), np.float32)
    unit = [(m - m.min()) / (m.max() - m.min()) for m in (bits, words)]
    maps = maps_of(bits, words)
    assert np.array_equal(maps.of("bits"), unit[0]) and np.array_equal(maps.of("words"), unit[1])
    assert np.array_equal(maps.of("both"), unit[0] * unit[1])
    alone = maps_of(bits)
    assert all(np.array_equal(alone.of(source), unit[0]) for source in ("bits", "words", "both"))


def test_the_reference_grid_of_a_picture_is_its_schedules() -> None:
    for ratio in (0.333, 0.8, 1, 2.5):
        for budget in ("0.06M", "0.25M", "0.60M", "1M"):
            scales = schedule(ratio, budget)
            assert reference_grid(scales.image_size) == scales.reference_grid
