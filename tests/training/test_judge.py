"""The judge looks where the mask is, and is asked the right question."""

from __future__ import annotations

import torch

from training.evaluate import KINDS, Verdict, held_out_scenes, shares
from training.judge import SIDE, UNKNOWN, Judge, crop, labels
from training.phrasing_study import read_phrasings
from training.scenes import NATURAL, synthetic_maker
from training.vocabulary import COLOUR_NAMES, read_objects


def test_the_crop_is_the_square_around_the_mask() -> None:
    picture = torch.zeros(1, 3, 64, 64)
    picture[..., 10:20, 40:44] = 1
    mask = torch.zeros(1, 64, 64, dtype=torch.bool)
    mask[..., 10:20, 40:44] = True
    seen = crop(picture, mask)[0, 0]
    assert seen.shape == (SIDE, SIDE)
    rows, columns = (seen > 0.5).any(1).nonzero(), (seen > 0.5).any(0).nonzero()
    assert abs(float(rows.float().mean()) - SIDE / 2) < 2
    assert abs(float(columns.float().mean()) - SIDE / 2) < 2
    assert 0.75 < len(rows) / SIDE < 0.95
    assert 0.25 < len(columns) / SIDE < 0.45


def test_labels_are_of_the_edited_place() -> None:
    maker = synthetic_maker(torch.device("cpu"))
    nothing = len(maker.things)
    for kind, scenes in zip(KINDS, held_out_scenes(maker, 3), strict=True):
        before, after = (labels(scenes, maker, part) for part in (0, 1))
        assert (before[0] == nothing).all() == (kind == "add")
        assert (after[0] == nothing).all() == (kind == "remove")
        if kind == "recolour":
            assert (before[0] == after[0]).all()
            assert (before[1] != after[1]).all()
            assert (after[1] != UNKNOWN).all()
        assert [KINDS[k] for k in scenes.plan.kind] == [kind] * 3
        assert (scenes.plan.colours[:, 1] >= NATURAL).all()


def test_the_judge_names_something_for_every_picture() -> None:
    judge = Judge(5).eval()
    mask = torch.zeros(2, 64, 64, dtype=torch.bool)
    mask[:, 8:40, 8:40] = True
    objects, colours = judge.name(torch.randn(2, 3, 64, 64), mask)
    assert objects.shape == colours.shape == (2,)
    assert judge.nothing == 5


def test_shares_count_what_was_asked_for() -> None:
    def verdict(
        kind: str, wanted: str, named: str, wanted_colour: str, named_colour: str
    ) -> Verdict:
        return Verdict(kind, "", wanted, wanted_colour, named, named_colour, 40.0)

    found = shares([
        verdict("replace", "cat", "cat", "", "red"),
        verdict("replace", "cat", "dog", "", "red"),
        verdict("recolour", "hat", "cap", "red", "red"),
        verdict("add", "cat", "nothing", "", "red"),
        verdict("remove", "nothing", "nothing", "", "red"),
    ])  # fmt: skip
    assert (found["replace"], found["recolour"], found["add"], found["remove"]) == (0.5, 1, 0, 1)
    assert found["recoloured, object still named"] == 0
    assert found["kept, dB (mean)"] == 40


def test_phrasings_say_truly_what_training_saw() -> None:
    things = {thing.name: thing for thing in read_objects()}
    for phrasing in read_phrasings():
        assert set(phrasing.objects) <= set(things), phrasing
        assert set(phrasing.colours) <= set(COLOUR_NAMES), phrasing
        if phrasing.kind == "seen synonym":
            assert any(s in phrasing.phrase for s in things[phrasing.objects[0]].synonyms), phrasing
        elif phrasing.kind == "unseen synonym":
            known = [s for name in phrasing.objects for s in (name, *things[name].synonyms)]
            words = phrasing.phrase.removeprefix("a ").removeprefix("an ")
            assert words not in known, phrasing
