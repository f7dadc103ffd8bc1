"""BitResEdit against its formulas, written again in NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from editinfinity.editing.bitresedit import BitResEdit, is_large, within_trust_region
from editinfinity.models.transformer import TextFeatures
from editinfinity.scales import schedule

PLAN = schedule(1, "0.06M")
TEXT = TextFeatures(torch.zeros(1, 3, 128))


def divergence(odds: float, other: float) -> float:
    """KL of a bit with log-odds ``odds`` from one with ``other``."""
    p, q = (1 / (1 + math.exp(-each)) for each in (odds, other))
    return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))


def moved(baseline: float, shift: float) -> float:
    """The published trust region for one bit: four halvings, then the clip."""
    if divergence(baseline + shift, baseline) <= 0.3:
        share = 1.0
    else:
        share, step = 0.0, 0.5
        for _ in range(4):
            if divergence(baseline + (share + step) * shift, baseline) <= 0.3:
                share += step
            step /= 2
    return baseline + min(max(share * shift, -5), 5)


def test_the_trust_region_is_found_by_four_halvings_then_clipped() -> None:
    random = np.random.default_rng(0)
    baseline, shift = random.normal(0, 4, 3000), random.normal(0, 6, 3000)
    baseline[:4], shift[:4] = [-12, 12, 9, -9], [8, -8, -30, 40]  # these reach the clip
    found = torch.from_numpy(baseline)
    found = found + within_trust_region(found, torch.from_numpy(shift))
    expected = np.array([moved(*pair) for pair in zip(baseline, shift, strict=True)])
    assert np.allclose(found.numpy(), expected, atol=1e-9)
    step = np.abs(expected - baseline)
    assert (step == 5).any() and (step < np.abs(shift) - 0.1).mean() > 0.3
    assert (np.isclose(step, np.abs(shift))).any()


@pytest.mark.parametrize("masked", [True, False])
def test_the_formula_scale_by_scale(masked: bool) -> None:
    gate = torch.zeros(16, 16)
    gate[2:9, 3:7] = 0.4  # inside means above 0, however little
    cfg, last = 4.0392, len(PLAN.scales) - 1
    guide = BitResEdit(cfg, TEXT, gate if masked else None, PLAN)
    random = np.random.default_rng(1)
    for scale, (h, w) in enumerate(PLAN.scales):
        target, none, source = random.normal(0, 1, (3, h * w, 8))
        assert guide.texts_at(scale) == (2 if scale == last else 3)
        odds = torch.from_numpy(np.stack([target, none, source][: guide.texts_at(scale)]))
        guided = guide(scale, torch.stack([torch.zeros_like(odds), odds], -1))
        strength = 2.3898 * (1 - scale / last)
        # A cell's centre lies between the cells of the gate that it is sampled from.
        rows, columns = (
            {i for i in range(n) if {math.floor(at := (i + 0.5) * 16 / n - 0.5), math.ceil(at)}
             & set(reach)}
            for n, reach in ((h, range(2, 9)), (w, range(3, 7)))
        )  # fmt: skip
        for token in range(h * w):
            inside = not masked or (token // w in rows and token % w in columns)
            for bit in range(8):
                t, n, s = (each[token, bit] for each in (target, none, source))
                plain = t + (cfg - 1) * (t - n)
                wanted = moved(plain, -strength * (s - t)) if inside else plain
                assert guided[0, token, bit, 1].item() == pytest.approx(wanted, abs=1e-6)


def test_an_edit_is_large_from_half_of_the_picture() -> None:
    gate = torch.full((8, 8), 0.5)  # the edge of a blurred mask is outside
    gate[:4] = 1
    assert is_large(gate)
    gate[0, 0] = 0
    assert not is_large(gate)
