"""The seam of an edit, and the crop around a mask."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from editinfinity.editing.blend_mask import SMOOTHINGS, make_blend_mask
from editinfinity.errors import UserError
from editinfinity.files import cropping
from editinfinity.files.cropping import crop_around, parse_region, region_text
from editinfinity.files.geometry import Geometry
from editinfinity.files.seam import detail_weight, opacity_of
from editinfinity.scales import SCALES_1M, ScaleSchedule, nearest_ratio


def geometry(height: int, width: int) -> Geometry:
    return Geometry((height, width), 0, 0, height, width, (256, 256))


def outside(blend_mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pixels whose centre lies in a cell that keeps the source."""
    rows = ((np.arange(height) + 0.5) * blend_mask.shape[0] / height).astype(int)
    columns = ((np.arange(width) + 0.5) * blend_mask.shape[1] / width).astype(int)
    return (blend_mask == 1)[rows][:, columns]


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@pytest.mark.parametrize("size", [(64, 64), (97, 130), (1000, 1333)])
def test_nothing_outside_the_support_and_everything_inside(
    smoothing: str, size: tuple[int, int]
) -> None:
    mask = np.zeros((100, 100), bool)
    mask[30:60, 40:70] = True
    blend_mask = make_blend_mask(mask, (64, 64), smoothing)
    opacity = np.asarray(opacity_of(blend_mask, geometry(*size)))
    assert opacity.shape == size
    assert (opacity[outside(blend_mask, *size)] == 0).all()
    inner = np.s_[round(0.36 * size[0]) : round(0.54 * size[0]),
                  round(0.46 * size[1]) : round(0.64 * size[1])]  # fmt: skip
    assert (opacity[inner] > 250).all()
    steps = np.abs(np.diff(opacity.astype(int), axis=1)).max()
    assert steps <= (255 if size[0] < 500 else 60)  # soft where there are pixels for it


REACH = {
    "none": 1,
    "hard": 2,
    "paper": 4,
    "linear": 5,
    "bitresedit": 4,
    "gaussian": 7,
    "dilated": 8,
}
"""Cells beyond the mask that docs/photographs.md promises no change from."""


@settings(max_examples=30, deadline=None)
@given(
    smoothing=st.sampled_from(sorted(SMOOTHINGS)),
    box=st.tuples(*[st.integers(0, 400)] * 2, *[st.integers(10, 240)] * 2),
)
def test_an_edit_reaches_as_far_as_the_docs_say(
    smoothing: str, box: tuple[int, int, int, int]
) -> None:
    top, left, height, width = box
    mask = np.zeros((640, 640), bool)
    mask[top : top + height, left : left + width] = True
    blend_mask = make_blend_mask(mask, (64, 64), smoothing)
    changed = np.asarray(opacity_of(blend_mask, geometry(640, 640))) > 0
    beyond = 10 * REACH[smoothing]  # a cell is 10 pixels
    near = np.zeros_like(mask)
    near[max(0, top - beyond) : top + height + beyond,
         max(0, left - beyond) : left + width + beyond] = True  # fmt: skip
    assert changed.any() and not (changed & ~near).any()


def test_the_docs_name_every_smoothings_reach() -> None:
    page = Path(__file__).parents[2].joinpath("docs", "photographs.md").read_text("utf-8")
    table = [line for line in page.splitlines() if line.startswith("| `")]
    for name, cells in REACH.items():
        told = f"{cells} cell" + "s" * (cells > 1)
        assert any(f"`{name}`" in line and f"| {told} |" in line for line in table), name
    assert REACH.keys() == SMOOTHINGS.keys()


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    height=st.integers(16, 300),
    width=st.integers(16, 300),
    feather=st.none() | st.floats(0, 50),
)
def test_no_mask_ever_leaks(seed: int, height: int, width: int, feather: float | None) -> None:
    generator = np.random.default_rng(seed)
    blend_mask = generator.choice([0, 0.3, 1, 1], (12, 20)).astype(np.float32)
    opacity = np.asarray(opacity_of(blend_mask, geometry(height, width), feather))
    assert (opacity[outside(blend_mask, height, width)] == 0).all()


def test_a_wider_feather_is_softer() -> None:
    mask = np.zeros((100, 100), bool)
    mask[20:80, 20:80] = True
    blend_mask = make_blend_mask(mask, (64, 64), "hard")
    narrow, wide = (
        np.asarray(opacity_of(blend_mask, geometry(1000, 1000), width), int) for width in (4, 100)
    )
    assert (narrow >= wide).all() and (narrow > wide).mean() > 0.05


def profile(feather: float | None, columns: tuple[int, int] = (16, 48)) -> np.ndarray:
    """Opacity along the middle row of 640 pixels, 10 a cell, of which some cells are edited."""
    blend_mask = np.ones((64, 64), np.float32)
    blend_mask[:, slice(*columns)] = 0
    return np.asarray(opacity_of(blend_mask, geometry(640, 640), feather))[320].astype(int)


@pytest.mark.parametrize(("feather", "pixels"), [(None, 10), (10, 10), (40, 40), (60, 60)])
def test_the_seam_is_as_wide_as_told_and_else_one_cell(feather: float | None, pixels: int) -> None:
    row = profile(feather)
    # It begins at the centre of the outermost point, of which there are eight in a cell.
    place = (np.arange(pixels + 10) + 0.5 - 10 / 16) / pixels
    ramp = np.clip(place, 0, 1)
    smooth = 255 * ramp * ramp * (3 - 2 * ramp)
    assert np.abs(row[160 : 170 + pixels] - smooth).max() < (12 if pixels == 10 else 4)
    assert (row[:160] == 0).all() and (row[170 + pixels : 320] == 255).all()
    assert np.abs(row - row[::-1]).max() <= 1
    # It is as wide in a photograph of another shape.
    blend_mask = np.ones((32, 64), np.float32)
    blend_mask[:, 16:48] = 0
    flat = np.asarray(opacity_of(blend_mask, geometry(320, 640), feather))
    assert np.abs(flat[160].astype(int) - row).max() <= 1


@pytest.mark.parametrize("feather", [None, 50, 1000])
def test_a_narrow_edit_is_opaque_in_its_middle(feather: float | None) -> None:
    """The seam is at most half as wide as the edit reaches inwards."""
    row = profile(feather, (30, 34))
    assert row[319] == 255 and row[302] < 30
    if feather is not None:  # 20 pixels to the middle, so the seam takes 10 of them
        assert row[311] > 220 and row[305] < 140


def test_the_crops_own_edges_fade_where_the_photograph_goes_on() -> None:
    everything = np.zeros((64, 64), np.float32)
    whole = np.asarray(opacity_of(everything, geometry(300, 300)))
    assert (whole == 255).all()
    inner = Geometry((300, 600), 0, 150, 300, 300, (256, 256))
    opacity = np.asarray(opacity_of(everything, inner))
    assert opacity[150, 0] < 40 and opacity[150, -1] < 40
    assert opacity[0, 150] == 255 and (opacity[:, 10:-10] == 255).all()


def test_all_edges_of_a_crop_fade_alike() -> None:
    everything = np.zeros((64, 64), np.float32)
    beside, below = (
        np.asarray(opacity_of(everything, Geometry((900, 900), top, left, 300, 300, (256, 256))))
        for top, left in ((0, 300), (300, 0))
    )
    assert np.array_equal(beside[150, ::-1], beside[150]) and beside[150, 0] < 40
    assert np.array_equal(below.T[150], beside[150])


def test_detail_returns_where_both_pictures_show_the_same_or_the_mask_keeps() -> None:
    everything = np.zeros((64, 64), np.float32)

    def weight(level: int, blend_mask: np.ndarray = everything, seen: int = 255) -> np.ndarray:
        drawn, rendering, photograph = (
            Image.new("RGB", (64, 64), (value,) * 3) for value in (level, 100, seen)
        )
        return np.asarray(detail_weight(drawn, rendering, photograph, blend_mask))

    assert (weight(100) == 255).all() and (weight(104) == 255).all()
    # Half of 255; how it is rounded is up to the processor's sums.
    assert np.isin(weight(110), (127, 128)).all() and np.isin(weight(90), (127, 128)).all()
    assert (weight(116) == 0).all()
    left = everything.copy()
    left[:, :32] = 0.75
    assert (weight(0, left)[:, :30] == 191).all() and (weight(0, left)[:, 34:] == 0).all()
    assert (weight(100, left) == 255).all() and (weight(100, left, seen=100) == 255).all()
    # A drawing that is nearer to the photograph than the rendering is has not lost the detail.
    assert (weight(108, left, seen=108) == 0).all() and (weight(104, left, seen=109) == 161).all()


@pytest.mark.parametrize("side", [128, 256, 512, 1024])  # the larger ones are reduced
def test_the_difference_is_blurred_in_proportion_to_the_picture(side: int) -> None:
    drawn = np.full((side, side, 3), 100, np.uint8)
    drawn[:, side // 2 :] = 120
    grey, white = (Image.new("RGB", (side, side), (level,) * 3) for level in (100, 255))
    reduced = detail_weight(Image.fromarray(drawn), grey, white, np.zeros((9, 9), np.float32))
    assert reduced.width == min(side, 256)
    weight = np.asarray(reduced.resize(grey.size, Image.Resampling.BILINEAR))
    # The edge, blurred by σ = 3/256 of the side, is 20·Φ(x/σ); up to 4 is the same, from 16 on not.
    offsets = np.arange(-6, 6) + 0.5
    normal = np.array([(1 + math.erf(x / (3 * side / 256) / math.sqrt(2))) / 2 for x in offsets])
    expected = 255 * np.clip((16 - 20 * normal) / 12, 0, 1)
    row = weight[side // 2].astype(int)
    assert np.abs(row[side // 2 - 6 : side // 2 + 6] - expected).max() < 8
    assert row[0] == 255 and row[-1] == 0


def test_an_unmasked_kernel_changes_nothing() -> None:
    opacity = opacity_of(np.ones((64, 64), np.float32), geometry(100, 100))
    assert opacity.getextrema() == (0, 0)


def box_mask(size: tuple[int, int], top: int, left: int, height: int, width: int) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[top : top + height, left : left + width] = True
    return mask


def test_a_small_thing_in_a_large_photograph_is_seen_at_full_detail() -> None:
    region = crop_around([box_mask((4000, 6000), 2000, 3000, 300, 250)], "1M")
    assert region is not None
    top, left, height, width = region
    ratio = min(SCALES_1M, key=lambda r: abs(r - height / width))
    assert (height, width) == ScaleSchedule(ratio, "1M").image_size
    assert top <= 1850 and top + height >= 2450 and left <= 2850 and left + width >= 3400
    assert parse_region(region_text(region), (4000, 6000)) == region


def test_a_view_is_centred_on_its_mask_or_covers_the_most_of_it() -> None:
    """In steps of an eighth of its side, and of equal places the middle one."""
    assert cropping._centred_start(150, 400, 6000, 100, 200) == 0  # not beyond the edge
    assert cropping._centred_start(3010, 400, 6000, 2960, 3060) == 2800
    assert cropping._centred_start(5900, 400, 6000, 5850, 5950) == 5600
    counts = np.zeros(100, int)
    counts[30:50] = 1
    assert cropping._fullest_start(counts, 16) == 32  # of 30, 32 and 34


@pytest.mark.parametrize(
    ("text", "is_region"),
    [
        ("0,0,30,40", True),
        ("29,39,1,1", True),
        ("0,0,31,40", False),
        ("0,0,30,41", False),
        ("1,0,30,40", False),
        ("0,1,30,40", False),
        ("-1,0,10,10", False),
        ("0,-1,10,10", False),
        ("5,5,0,10", False),
        ("5,5,10,0", False),
        ("9,9,-5,10", False),
    ],
)
def test_a_region_lies_in_the_photograph(text: str, is_region: bool) -> None:
    if is_region:
        assert region_text(parse_region(text, (30, 40))) == text
    else:
        with pytest.raises(UserError, match="lies outside the photograph, which is 40×30 pixels"):
            parse_region(text, (30, 40))


@settings(max_examples=80, deadline=None)
@given(
    size=st.tuples(st.integers(20, 2500), st.integers(20, 2500)),
    corner=st.tuples(st.floats(0, 0.99), st.floats(0, 0.99)),
    sides=st.tuples(st.floats(0.001, 1), st.floats(0.001, 1)),
    budget=st.sampled_from(["0.06M", "1M"]),
)
def test_every_crop_holds_its_mask_inside_the_photograph(
    size: tuple[int, int], corner: tuple[float, float], sides: tuple[float, float], budget: str
) -> None:
    top, left = (int(side * share) for side, share in zip(size, corner, strict=True))
    height = max(1, int((size[0] - top) * sides[0]))
    width = max(1, int((size[1] - left) * sides[1]))
    mask = box_mask(size, top, left, height, width)
    region = crop_around([mask], budget)
    if region is None:
        ratio = nearest_ratio(*size)
        view = Geometry.fit(size, ScaleSchedule(ratio, budget).image_size)
        region = view.top, view.left, view.height, view.width
    assert parse_region(region_text(region), size) == region
    held = mask[region[0] : region[0] + region[2], region[1] : region[1] + region[3]].sum()
    views = [Geometry.fit(size, ScaleSchedule(ratio, budget).image_size) for ratio in SCALES_1M]
    most = max(min(view.height, height) * min(view.width, width) for view in views)
    # Where no view holds it all, one that holds nearly the most is chosen, in steps.
    assert held == mask.sum() if most == mask.sum() else held >= 0.9 * most


def seen_of(mask: np.ndarray, region: tuple[int, int, int, int] | None, budget: str) -> np.ndarray:
    """The part of a mask in the view that is encoded, as the stage image_features chooses it."""
    size = (mask.shape[0], mask.shape[1])
    ratio = nearest_ratio(*(size if region is None else region[2:]))
    view = Geometry.within(size, region, ScaleSchedule(ratio, budget).image_size)
    return view.crop_mask(mask)


@pytest.mark.parametrize("budget", ["0.06M", "1M"])
@pytest.mark.parametrize("tall", [False, True])
@pytest.mark.parametrize("size", [(400, 3000), (1000, 6000), (1500, 4600), (2000, 12000)])
@pytest.mark.parametrize("place", [0, 0.2, 0.5, 0.9, 1])
@pytest.mark.parametrize("share", [0.1, 0.6, 0.9, 1])
def test_of_a_panorama_the_part_with_the_mask_is_seen(
    budget: str, tall: bool, size: tuple[int, int], place: float, share: float
) -> None:
    side = round(size[0] * share)
    mask = box_mask(size, size[0] - side, round((size[1] - side) * place), side, side)
    mask = mask.T if tall else mask
    region = crop_around([mask], budget)
    assert seen_of(mask, region, budget).sum() >= 0.99 * mask.sum()
    if region is not None:
        assert parse_region(region_text(region), (mask.shape[0], mask.shape[1])) == region


@pytest.mark.parametrize("tall", [False, True])
def test_of_a_mask_wider_than_a_view_most_is_seen(tall: bool) -> None:
    mask = box_mask((1000, 8000), 300, 500, 200, 4000)
    mask[100:900, 3900:4500] = True  # most of it is at its right end
    mask = mask.T if tall else mask
    region = crop_around([mask], "1M")
    assert region is not None and sorted(region[2:]) == [1000, 3000]
    seen = seen_of(mask, region, "1M")
    assert seen.sum() > 0.8 * mask.sum() and seen.sum() > seen_of(mask, None, "1M").sum()


def test_masks_of_a_case_too_far_apart_for_one_view_do_not_lose_both() -> None:
    ends = [
        box_mask((1000, 9000), 400, left, 200, side) for left, side in ((100, 200), (8500, 400))
    ]
    region = crop_around(ends, "1M")
    assert seen_of(ends[1], region, "1M").sum() == ends[1].sum()


def test_what_the_whole_view_holds_as_well_is_no_crop() -> None:
    """Nor a mask of everything, of which no view holds all."""
    assert crop_around([box_mask((1000, 6000), 50, 2500, 900, 900)], "1M") is None
    assert crop_around([np.ones((1080, 1920), bool)], "1M") is None


@pytest.mark.parametrize(("side", "steps"), [(500, 0), (700, 3), (900, 5), (1000, 5), (1200, 7)])
def test_a_crop_has_half_of_the_masks_side_as_margin_and_a_stepped_size(
    side: int, steps: int
) -> None:
    region = crop_around([box_mask((6000, 8000), 2000, 3000, side, side)], "1M")
    assert region is not None and region[2] == region[3] == round(1024 * 1.15**steps)
    # Steps of place are an eighth of the crop's side, so its centre is at most half of that off.
    for start, length, first in zip(region[:2], region[2:], (2000, 3000), strict=True):
        assert abs(start + length / 2 - first - side / 2) <= length / 16 + 1
        assert start % (length // 8) == 0


@pytest.mark.parametrize("tall", [False, True])
def test_a_crop_has_the_shape_of_the_mask_and_its_margin(tall: bool) -> None:
    mask = box_mask((4000, 4000), 2000, 1500, 100, 300)  # 400×600 with its margin
    region = crop_around([mask.T if tall else mask], "1M")
    assert region is not None and region[2:] == ((1248, 832) if tall else (832, 1248))


@pytest.mark.parametrize("tall", [False, True])
def test_a_mask_too_large_for_its_margin_gets_as_much_as_there_is(tall: bool) -> None:
    mask = box_mask((1000, 6000), 50, 50, 900, 900)  # 1800 wide with its margin
    region = crop_around([mask.T if tall else mask], "1M")
    assert region is not None and sorted(region[2:]) == [1000, 2000]
    assert (region[2] > region[3]) is tall


def test_a_wide_mask_has_a_margin_of_half_of_its_longer_side_above_it_too() -> None:
    region = crop_around([box_mask((6000, 8000), 2000, 3000, 100, 1000)], "1M")
    assert region is not None
    height, width = region[2:]
    assert height >= 1100 and width >= 2000 and width / height == pytest.approx(1.75, abs=0.02)
    assert height < 1.15 * 1.05 * 1150 and width < 1.15 * 2000 * 1.05


@pytest.mark.parametrize(("more", "is_cropped"), [(3, True), (-3, False)])
def test_a_crop_has_at_most_eight_tenths_of_the_whole_view(more: int, is_cropped: bool) -> None:
    crop = round(1024 * 1.15)  # the first step that holds the mask and its margin
    side = round(crop / 0.8**0.5) + more
    region = crop_around([box_mask((side, side), 100, 100, 550, 550)], "1M")
    assert (region is not None) is is_cropped


def test_a_mask_mended_a_little_keeps_its_crop() -> None:
    first = crop_around([box_mask((3000, 4000), 1000, 1500, 200, 200)], "0.25M")
    second = crop_around([box_mask((3000, 4000), 1004, 1497, 203, 205)], "0.25M")
    assert first is not None and first == second
    elsewhere = crop_around([box_mask((3000, 4000), 100, 300, 200, 200)], "0.25M")
    assert elsewhere != first


def test_all_masks_of_a_case_share_the_crop_and_large_ones_have_none() -> None:
    near = box_mask((3000, 4000), 1000, 1500, 200, 200)
    far = box_mask((3000, 4000), 1500, 2300, 100, 100)
    region = crop_around([near, far], "0.25M")
    assert region is not None and region[3] >= 900
    assert crop_around([box_mask((3000, 4000), 100, 100, 2500, 3500)], "1M") is None
    assert crop_around([box_mask((300, 400), 10, 10, 20, 20)], "1M") is None
    assert crop_around([np.zeros((3000, 4000), bool)], "1M") is None


@pytest.mark.parametrize("text", ["1,2,3", "a,b,c,d", "0,0,101,10", "-1,0,5,5", "0,0,0,5"])
def test_regions_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="crop: "):
        parse_region(text, (100, 100))
