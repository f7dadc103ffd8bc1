"""The region of an edit and its kernel, in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from editinfinity.errors import UserError
from editinfinity.files.geometry import Geometry
from editinfinity.method.locate import blend_mask_of, region_of_attention, region_of_mask
from editinfinity.scales import reference_grid, schedule

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


def test_the_reference_grid_of_a_picture_is_its_schedules() -> None:
    for ratio in (0.333, 0.8, 1, 2.5):
        for budget in ("0.06M", "0.25M", "0.60M", "1M"):
            scales = schedule(ratio, budget)
            assert reference_grid(scales.image_size) == scales.reference_grid
