"""Made scenes: reproducible, honest captions and masks, nothing held out leaks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from editinfinity.editing.blend_mask import make_blend_mask, resample_blend_mask
from training import masks
from training.captions import Placed, caption
from training.scenes import KINDS, NATURAL, SceneMaker, synthetic_maker
from training.vocabulary import (
    BACKDROPS,
    COLOUR_NAMES,
    COLOUR_SYNONYMS,
    held_out_table,
    read_objects,
)


@pytest.fixture(scope="module")
def maker() -> SceneMaker:
    return synthetic_maker(torch.device("cpu"))


def test_objects_are_distinct_and_paintable() -> None:
    things = read_objects()
    names = [name for t in things for name in (t.name, *t.synonyms, *t.unseen_synonyms)]
    assert 60 <= len(things) <= 120
    assert len(names) == len(set(names))
    assert len({t.picture for t in things}) == len(things)
    for thing in things:
        assert thing.colour is None or thing.colour in COLOUR_NAMES, thing.name
        assert not thing.recolourable or thing.colour, f"{thing.name} has no colour to paint over"


def test_about_a_tenth_is_held_out_and_every_backdrop_keeps_enough() -> None:
    table = held_out_table(read_objects())
    assert 0.07 < table.mean() < 0.13
    paintable = np.array([t.recolourable for t in read_objects()])
    assert table.any(0).all(), "every backdrop has something held out"
    assert (~table[paintable]).any(0).all()


def test_same_seed_and_step_give_the_same_scene(maker: SceneMaker) -> None:
    maker.batch(3, 8, 2)
    first, second = maker.batch(3, 7, 4), maker.batch(3, 7, 4)
    assert torch.equal(first.source, second.source)
    assert torch.equal(first.target, second.target)
    assert first.plan.captions == second.plan.captions
    assert maker.batch(3, 8, 4).plan.captions != first.plan.captions
    assert maker.batch(4, 7, 4).plan.captions != first.plan.captions


@pytest.mark.parametrize("held_out", [False, True])
def test_held_out_pairs_never_leak(maker: SceneMaker, held_out: bool) -> None:
    for step in range(6):
        plan = maker.plan(np.random.default_rng([1, step]), 500, held_out)
        hidden = maker.held_out[plan.things, plan.backdrop[:, None]]
        shown = hidden & plan.shown
        if not held_out:
            assert not shown.any()
            continue
        removed = np.array([KINDS[k] == "remove" for k in plan.kind])
        asked = np.where(removed, hidden[:, 0], hidden[:, 1])
        assert asked.mean() > 0.9  # a backdrop may have nothing held out that can be painted
        assert not shown[:, 2].any(), "a companion is never held out"


def test_kinds_show_what_they_say(maker: SceneMaker) -> None:
    plan = maker.plan(np.random.default_rng(0), 800, False)
    for row, kind in enumerate(KINDS[k] for k in plan.kind):
        before, after, companion = plan.things[row]
        assert companion not in (before, after)
        assert (plan.shown[row, :2] == [kind != "add", kind != "remove"]).all()
        if kind == "replace":
            assert before != after
        if kind == "recolour":
            assert before == after
            assert maker.things[after].recolourable
            colours = [maker.natural[before] if c == NATURAL else c for c in plan.colours[row, :2]]
            assert colours[0] != colours[1]


def test_source_and_target_agree_outside_the_mask_and_differ_inside(maker: SceneMaker) -> None:
    scenes = maker.batch(0, 0, 12)
    difference = (scenes.source - scenes.target).abs().amax(1)
    assert difference[~scenes.mask].max() == 0
    for row, kind in enumerate(KINDS[k] for k in scenes.plan.kind):
        assert difference[row][scenes.mask[row]].max() > 0.05, kind
    covered = scenes.source_object | scenes.target_object
    assert (scenes.mask | ~covered).all()
    assert scenes.mask.float().mean((1, 2)).max() < 0.9


def test_captions_name_what_is_there_and_nothing_else(maker: SceneMaker) -> None:
    plan = maker.plan(np.random.default_rng(5), 300, False)
    for row, captions in enumerate(plan.captions):
        for parts, text in zip(((0, 2), (1, 2)), captions, strict=True):
            visible = [p for p in parts if plan.shown[row, p]]
            for part in visible:
                thing = maker.things[plan.things[row, part]]
                assert any(name in text.lower() for name in (thing.name, *thing.synonyms)), text
                if plan.colours[row, part] != NATURAL:
                    colour = COLOUR_NAMES[plan.colours[row, part]]
                    spoken = (colour, *COLOUR_SYNONYMS.get(colour, ()))
                    assert any(name in text.lower() for name in spoken), text
            assert not any(u in text for t in maker.things for u in t.unseen_synonyms if " " in u)


def test_captions_say_where_things_stand() -> None:
    cat, dog = read_objects()[:2]
    left, right = Placed(cat, None, 0.26, 0.4), Placed(dog, None, 0.74, 0.4)
    middle = Placed(cat, None, 0.51, 0.6)
    rng = np.random.default_rng(0)
    for _ in range(300):
        pair = caption([right, left], BACKDROPS[0], rng).lower()
        first = min((pair.find(w), w) for w in ("cat", "kitten", "dog", "puppy") if w in pair)[1]
        assert first in ("cat", "kitten"), pair
        assert "on the left" in caption([left], BACKDROPS[0], rng)
        assert "on the right" in caption([right], BACKDROPS[0], rng)
        lone = caption([middle], BACKDROPS[0], rng)
        assert "left" not in lone
        assert "right" not in lone.replace("bright", "")


def test_things_stand_where_captions_say(maker: SceneMaker) -> None:
    plan = maker.plan(np.random.default_rng(6), 400, False)
    x, companion = plan.x, plan.shown[:, 2]
    lone = x[~companion, 0]
    assert ((abs(lone - 0.5) < 0.05) | (abs(lone - 0.5) > 0.15)).all()
    assert (abs(x[companion, 0] - x[companion, 1]) > 0.4).all()
    left, right = x - plan.size[:, [0, 2]] / 2, x + plan.size[:, [0, 2]] / 2
    assert left[companion].min() > 0
    assert right[companion].max() < 1


def test_kernel_equals_the_workflows(maker: SceneMaker) -> None:
    scenes = maker.batch(2, 1, 6)
    small = torch.zeros(1, 256, 256, dtype=torch.bool)
    small[0, 100:107, 40:47] = True
    for mask in torch.cat([scenes.mask, small, torch.zeros_like(small), ~small]):
        expected = resample_blend_mask(make_blend_mask(mask.numpy(), (64, 64), "linear"), (16, 16))
        found = masks.make_blend_mask(mask[None], 16)[0].numpy()
        np.testing.assert_allclose(found, expected, atol=1e-6)
