"""The evaluator's background metrics against an independent reference in numpy, quirks included."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image

from editinfinity.evaluation.background import background_metrics
from editinfinity.evaluation.canvas import (
    canvas_size,
    evaluator_canvas,
    mask_on_canvas,
    on_canvas,
    with_border,
)
from editinfinity.evaluation.names import PSNR_CAP
from editinfinity.evaluation.scorer import EditedPicture


def pictures(size: int = 64, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two pictures that differ a little everywhere, and much in the middle."""
    rng = np.random.default_rng(seed)
    source = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
    noise = rng.integers(-9, 10, source.shape)
    result = np.clip(source.astype(int) + noise, 0, 255).astype(np.uint8)
    result[20:40, 20:40] = 255 - result[20:40, 20:40]
    return source, result


def masked(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return pixels.astype(np.float64) / 255 * (1 - mask)[..., None]


def reference_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """SSIM as published: 11×11 Gaussian of σ 1.5, on the valid part of each channel, averaged."""
    x = np.arange(11) - 5
    line = np.exp(-(x**2) / (2 * 1.5**2))
    window = np.outer(line, line) / line.sum() ** 2

    def smooth(channel: np.ndarray) -> np.ndarray:
        views = np.lib.stride_tricks.sliding_window_view(channel, (11, 11))
        return (views * window).sum((2, 3))

    c1, c2 = 0.01**2, 0.03**2
    values = []
    for channel in range(3):
        p, q = a[..., channel], b[..., channel]
        mp, mq = smooth(p), smooth(q)
        vp, vq = smooth(p * p) - mp**2, smooth(q * q) - mq**2
        cov = smooth(p * q) - mp * mq
        top = (2 * mp * mq + c1) * (2 * cov + c2)
        values.append(top / ((mp**2 + mq**2 + c1) * (vp + vq + c2)))
    return float(np.mean(values))


def test_against_a_reference_in_numpy():
    source, result = pictures()
    mask = np.zeros((64, 64), dtype=bool)
    mask[18:42, 18:42] = True
    edited = with_border(mask)

    found = background_metrics(source, result, edited)

    # The evaluator's mask: the drawn one and all four border lines.
    wanted = mask.astype(float)
    wanted[0], wanted[-1], wanted[:, 0], wanted[:, -1] = 1, 1, 1, 1
    a, b = masked(source, wanted), masked(result, wanted)
    mse = ((a - b) ** 2).mean()  # over the whole canvas: black counts as kept
    assert found["background_mse"] == pytest.approx(mse, rel=1e-5)
    assert found["background_psnr"] == pytest.approx(10 * np.log10(1 / mse), rel=1e-5)
    assert found["background_ssim"] == pytest.approx(reference_ssim(a, b), rel=1e-4)


def test_the_mean_is_over_the_canvas_and_not_over_the_background():
    source = np.zeros((64, 64, 3), np.uint8)
    result = np.full_like(source, 255)
    edited = np.ones((64, 64), dtype=bool)
    edited[:, 32] = False  # one column is background, and all of it is wrong

    assert background_metrics(source, result, edited)["background_mse"] == pytest.approx(1 / 64)


def test_nan_where_nothing_is_background():
    source, result = pictures()

    found = background_metrics(source, result, np.ones((64, 64), dtype=bool))

    assert all(math.isnan(value) for value in found.values())


def test_an_exact_paste_has_the_stated_cap():
    source, result = pictures()
    edited = np.zeros((64, 64), dtype=bool)
    edited[20:40, 20:40] = True
    result[~edited] = source[~edited]

    found = background_metrics(source, result, edited)

    assert found == {"background_psnr": PSNR_CAP, "background_ssim": 1.0, "background_mse": 0.0}
    one_level = source.copy()
    one_level[0, 0, 0] ^= 1  # 107 dB on the benchmark's canvas
    assert background_metrics(source, one_level, edited)["background_psnr"] < PSNR_CAP


def test_sizes_that_differ_are_refused():
    source, result = pictures()

    with pytest.raises(ValueError, match="one size"):
        background_metrics(source, result[:32], np.zeros((64, 64), dtype=bool))


def test_the_evaluator_keeps_the_right_bottom_square_of_what_is_not_square():
    pixels = np.random.default_rng(1).integers(0, 256, (600, 1100, 3), dtype=np.uint8)

    assert np.array_equal(evaluator_canvas(Image.fromarray(pixels)), pixels[-512:, -512:])


def test_what_is_smaller_is_filled_with_black_as_the_evaluator_does():
    found = evaluator_canvas(Image.new("RGB", (700, 300), "white"))

    assert found.shape == (512, 512, 3)
    assert (found[:212] == 0).all() and (found[212:] == 255).all()


def test_a_larger_square_is_brought_to_512_by_lanczos():
    picture = Image.fromarray(np.random.default_rng(2).integers(0, 256, (1024, 1024, 3), np.uint8))

    wanted = np.asarray(picture.resize((512, 512), Image.Resampling.LANCZOS))
    assert np.array_equal(evaluator_canvas(picture), wanted)
    assert np.array_equal(on_canvas(picture, (512, 512)), wanted)


def test_the_benchmarks_own_size_is_not_touched():
    pixels = np.random.default_rng(3).integers(0, 256, (512, 512, 3), np.uint8)

    assert np.array_equal(evaluator_canvas(Image.fromarray(pixels)), pixels)
    assert np.array_equal(on_canvas(Image.fromarray(pixels), (512, 512)), pixels)


def test_other_shapes_keep_theirs_at_the_same_area():
    assert canvas_size(1024, 1024) == canvas_size(256, 256) == (512, 512)
    height, width = canvas_size(832, 1248)
    assert width / height == pytest.approx(1.5, rel=0.01)
    assert height * width == pytest.approx(512**2, rel=0.01)


def test_the_border_lines_are_edited_and_the_given_mask_is_left_alone():
    mask = np.zeros((8, 8), dtype=bool)

    found = with_border(mask)

    assert found[0].all() and found[-1].all() and found[:, 0].all() and found[:, -1].all()
    assert not found[1:-1, 1:-1].any() and not mask.any()


def test_masks_grow_by_the_nearest_cell():
    mask = np.eye(2, dtype=bool)

    assert np.array_equal(mask_on_canvas(mask, (4, 4)), np.kron(mask, np.ones((2, 2))) > 0)


def test_brackets_leave_prompts_and_their_words_stay():
    source, result = pictures()
    edited = EditedPicture(source, result, None, "a [red] cat [on] a mat")
    assert edited.plain_prompt == "a red cat on a mat"
