"""Guidance: the plain one is the model's, the other keeps its published bounds."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.distributions import Bernoulli, kl_divergence

from editinfinity.editing import sampler
from editinfinity.editing.blend import LockFirst, keep_generated
from editinfinity.editing.guidance import (
    ClassifierFree,
    SourceNegative,
    Unguided,
    bernoulli_divergence,
    bounded_shift,
    padded_rows,
)
from editinfinity.files.weights import load_transformer
from editinfinity.models.transformer import Infinity, TextFeatures
from editinfinity.presets import preset
from editinfinity.scales import schedule

PLAN = schedule(1, "0.06M")


@pytest.fixture(scope="module")
def model() -> Infinity:
    return load_transformer(preset("tiny"), torch.device("cpu"))


def text(length: int, seed: int) -> TextFeatures:
    return TextFeatures(torch.randn(1, length, 128, generator=torch.Generator().manual_seed(seed)))


def draw(model: Infinity, target: TextFeatures, **more: object) -> torch.Tensor:
    settings = sampler.SamplingSettings(cfg=4.04, top_k=1)
    generator = torch.Generator().manual_seed(0)
    return sampler.sample(model, target, PLAN, settings, generator, **more).code  # type: ignore[arg-type]


def test_divergence_is_that_of_torch() -> None:
    generator = torch.Generator().manual_seed(0)
    odds, other = torch.randn(2, 1000, generator=generator, dtype=torch.float64) * 6
    expected = kl_divergence(Bernoulli(logits=odds), Bernoulli(logits=other))
    # Torch's softplus is a straight line from 20 on, which is off by 2e-9.
    torch.testing.assert_close(bernoulli_divergence(odds, other), expected, rtol=1e-6, atol=1e-7)


def test_every_bit_keeps_both_bounds_and_takes_all_it_may() -> None:
    generator = torch.Generator().manual_seed(1)
    plain = torch.randn(20_000, generator=generator) * 5
    shift = torch.randn(20_000, generator=generator) * 8
    kept = bounded_shift(plain, shift)
    divergence = bernoulli_divergence(plain + kept, plain)
    assert divergence.max() <= 0.3 + 1e-4 and kept.abs().max() == 5
    assert (kept * shift >= 0).all() and (kept.abs() <= shift.abs() + 1e-6).all()
    whole = (bernoulli_divergence(plain + shift.clamp(-5, 5), plain) <= 0.3) & (shift.abs() <= 5)
    assert torch.equal(kept[whole], shift[whole])
    bound = ~whole & (shift.abs() <= 5)
    assert divergence[bound].min() > 0.3 - 0.001


@pytest.mark.parametrize(("scales", "texts"), [(1, [3]), (2, [3, 2]), (3, [3, 3, 2])])
def test_the_source_is_used_at_all_scales_but_the_last_of_several(
    scales: int, texts: list[int]
) -> None:
    plan: Any = SimpleNamespace(scales=[(1, 1)] * scales)
    guide = SourceNegative(4.04, text(3, 0), None, plan)
    assert [guide.texts_at(scale) for scale in range(scales)] == texts


def test_the_formula_scale_by_scale() -> None:
    generator = torch.Generator().manual_seed(2)
    inside = torch.zeros(16, 16)
    inside[:, :8] = 1
    guide = SourceNegative(4.04, text(3, 0), inside, PLAN)
    last = len(PLAN.scales) - 1
    for scale, (h, w) in enumerate(PLAN.scales):
        target, none, source = 0.05 * torch.randn(3, 1, h * w, 8, generator=generator)
        assert guide.texts_at(scale) == (2 if scale == last else 3)
        rows = torch.cat([target, none, source][: guide.texts_at(scale)])
        logits = torch.stack([torch.zeros_like(rows), rows], -1)
        guided = guide(scale, logits)
        odds = guided[..., 1] - guided[..., 0]
        plain = target + 3.04 * (target - none)
        share = torch.nn.functional.adaptive_avg_pool2d(inside[None, None], (h, w)).reshape(-1, 1)
        eta = 2.39 * (1 - scale / last)
        assert torch.allclose(odds, plain - eta * share * (source - target), atol=1e-5)
        if scale == last:
            assert torch.allclose(odds, plain)


def test_the_last_of_one_scale_has_the_first_strength() -> None:
    from dataclasses import dataclass

    @dataclass
    class One:
        scales = ((1, 1),)

    guide = SourceNegative(1.0, text(3, 0), None, One())  # type: ignore[arg-type]
    odds = torch.tensor([0.1, 0.3, 0.2]).reshape(3, 1, 1, 1)
    guided = guide(0, torch.cat([torch.zeros(3, 1, 1, 1), odds], -1).reshape(3, 1, 1, 2))
    assert guided[0, 0, 0, 1].item() == pytest.approx(0.1 - 2.39 * 0.1)


def test_plain_guidance_goes_from_no_text_to_the_text_and_on() -> None:
    conditional, unconditional = torch.randn(2, 2, 5, 3, 2)
    logits = torch.cat([conditional, unconditional])
    for cfg in (0, 1, 4):
        expected = (1 - cfg) * unconditional + cfg * conditional
        assert torch.allclose(ClassifierFree(cfg)(0, logits), expected, atol=1e-5)
    assert Unguided()(0, logits) is logits


def test_rows_are_the_texts_and_no_text_of_the_same_length(model: Infinity) -> None:
    """Learned vectors are a part of the text, so no text has vectors in their place."""
    target, source = text(9, 3), text(6, 4)
    none = model.unconditional(target).features[0]
    assert torch.equal(none, model.cfg_uncond[:9])
    two = ClassifierFree(3).texts(model, target)
    assert torch.equal(two.features, torch.stack([target.features[0], none])) and two.mask is None
    three = SourceNegative(3, source, None, PLAN).texts(model, target)
    assert three.mask is not None and three.mask.sum(1).tolist() == [9, 9, 6]
    assert torch.equal(three.features[:2], two.features)
    assert torch.equal(three.features[2, :6], source.features[0])
    assert Unguided().texts(model, target) is target and Unguided().texts_at(0) == 1
    masked = TextFeatures(target.features, torch.arange(9)[None] < 7)
    of_masked = ClassifierFree(3).texts(model, masked).mask
    assert of_masked is not None and of_masked.sum(1).tolist() == [7, 7]
    both = padded_rows([masked, source]).mask
    assert both is not None and both.sum(1).tolist() == [7, 6]


def test_a_source_that_says_the_same_changes_nothing(model: Infinity) -> None:
    target = text(7, 3)
    plain = draw(model, target)
    same = SourceNegative(4.04, target, None, PLAN)
    other = SourceNegative(4.04, text(9, 4), None, PLAN)
    assert (plain == draw(model, target, guidance=ClassifierFree(4.04))).all()
    assert (plain == draw(model, target, guidance=same)).float().mean() > 0.999
    assert (plain != draw(model, target, guidance=other)).float().mean() > 0.01


def test_padding_of_the_rows_changes_nothing(model: Infinity) -> None:
    """A long source pads the target's row; what the target says must not change."""
    target = text(5, 5)
    long = SourceNegative(4.04, text(40, 6), None, PLAN)
    rows = long.texts(model, target)
    assert rows.features.shape == (3, 40, 128) and rows.mask is not None
    assert rows.mask.sum(1).tolist() == [5, 5, 40]
    alone = model.condition(target).pooled[0]
    assert torch.allclose(model.condition(rows).pooled[0], alone, atol=1e-5)


def test_locked_scales_are_the_sources() -> None:
    source = [torch.full((1, 8, 2, 2), float(k)) for k in range(4)]
    lock = LockFirst(source, 2, keep_generated)
    generated = torch.full((1, 8, 2, 2), 9.0)
    assert [lock(k, generated)[0, 0, 0, 0].item() for k in range(4)] == [0, 1, 9, 9]
