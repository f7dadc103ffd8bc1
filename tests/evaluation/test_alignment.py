"""The alignment of the bundled world: how prompts are read, and what the number is of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from editinfinity.evaluation.loading import load_scorer
from editinfinity.evaluation.scorer import EditedPicture
from editinfinity.evaluation.world.alignment import Alignment, JudgeOutput, windows
from editinfinity.evaluation.world.judge import WEIGHTS, load_judge
from editinfinity.evaluation.world.reading import NamedObject, ParsedPrompt, parse_prompt
from editinfinity.evaluation.world.vocabulary import COLOUR_NAMES, read_objects

DATA = Path(__file__).parents[2] / "data"
NAMES = [thing.name for thing in read_objects()]
CPU = torch.device("cpu")


def wanted(name: str, colour: str | None = None, side: str | None = None, absent: bool = False):
    paint = None if colour is None else COLOUR_NAMES.index(colour)
    return NamedObject(NAMES.index(name), paint, side, absent)


@pytest.mark.parametrize(
    ("prompt", "things"),
    [
        ("a yellow car on a sandy beach", [wanted("car", "yellow")]),
        ("a cupcake and a cup on a wooden table", [wanted("cupcake"), wanted("cup")]),
        ("A photo of a teddy bear.", [wanted("teddy bear")]),  # and no bear
        ("scarlet apples", [wanted("apple", "red")]),
        ("a cat in front of a red wall", [wanted("cat")]),  # the wall is red
        (
            "a kitten on the left and a blue ball on the right",
            [wanted("cat", side="left"), wanted("ball", "blue", "right")],
        ),
        ("a dog to the left of a cup", [wanted("dog", side="left"), wanted("cup", side="right")]),
        ("a wooden table without a cup", [wanted("cup", absent=True)]),
        ("no red ball on marble", [wanted("ball", "red", absent=True)]),
        ("no cup or ball", [wanted("cup", absent=True), wanted("ball", absent=True)]),
        ("no cup and ball", [wanted("cup", absent=True), wanted("ball", absent=True)]),
        ("without a cup and a ball", [wanted("cup", absent=True), wanted("ball", absent=True)]),
        ("no cup and a red ball", [wanted("cup", absent=True), wanted("ball", "red")]),
        (
            "a cup, no ball and a fox",
            [wanted("cup"), wanted("ball", absent=True), wanted("fox")],
        ),
    ],
)
def test_prompts_are_read(prompt: str, things: list[NamedObject]) -> None:
    assert list(parse_prompt(prompt).objects) == things


def test_a_scene_without_things_is_told_from_one_of_unknown_things() -> None:
    assert parse_prompt("an empty scene with a wooden table").empty
    assert parse_prompt("a dragon on a wooden table") == ParsedPrompt((), empty=False)
    assert parse_prompt("") == ParsedPrompt((), empty=False)


def looked(masked: bool, *rows: dict[str, float]) -> JudgeOutput:
    """Windows in which the judge sees things with some probability, the rest being nothing."""
    things = torch.zeros(len(rows), len(NAMES) + 1)
    for row, seen in zip(things, rows, strict=True):
        for name, sure in seen.items():
            row[NAMES.index(name)] = sure
        row[-1] = 1 - row.sum()
    colours = torch.full((len(rows), len(COLOUR_NAMES)), 0.1)
    return JudgeOutput(things, colours, torch.linspace(0.2, 0.8, len(rows)), masked)


def test_the_number_is_of_the_least_certain_thing() -> None:
    seen = looked(False, {"cat": 0.9}, {"dog": 0.6})
    assert seen.score(parse_prompt("a cat")) == pytest.approx(0.9)
    assert seen.score(parse_prompt("a cat and a dog")) == pytest.approx(0.6)
    assert seen.score(parse_prompt("a red cat")) == pytest.approx(0.09)
    assert seen.score(parse_prompt("no cat, a dog")) == pytest.approx(0.1)
    assert seen.score(parse_prompt("a cat on the right")) == 0
    assert seen.score(parse_prompt("a cat on the left")) == pytest.approx(0.9)


def test_under_a_mask_only_what_was_named_or_nothing_may_stand() -> None:
    prompt = parse_prompt("a cup on a wooden table")
    stayed = looked(True, {"cat": 0.8}, {"cup": 0.9})  # the cat should have been removed
    gone = looked(True, {}, {"cup": 0.9})
    assert stayed.score(prompt) == pytest.approx(0.2)
    assert gone.score(prompt) == pytest.approx(0.9)
    empty = parse_prompt("a wooden table")
    assert stayed.score(empty) == pytest.approx(0.2)
    assert gone.score(empty) == pytest.approx(1)
    assert looked(False, {}).score(empty) is None  # nobody said where to look


def test_windows_cover_the_picture_and_stay_inside() -> None:
    masks = windows(60, 90)
    assert masks.any(0).all()
    sides = masks.any(1).sum(1), masks.any(2).sum(1)
    assert torch.equal(*sides)
    assert int(sides[0].max()) < 60


@pytest.fixture(scope="module")
def alignment() -> Alignment:
    return Alignment(load_judge(WEIGHTS, CPU), CPU)


@pytest.mark.parametrize(
    ("case", "shown", "others"),
    [
        ("example_1", "a red car in a forest", ["a yellow car", "a cat in a forest"]),
        (
            "example_2",
            "a teddy bear and a cup on a wooden table",
            ["a cupcake and a cup on a wooden table", "a teddy bear and a banana"],
        ),
        ("example_3", "a red apple on marble", ["a green apple on marble", "a red ball on marble"]),
    ],
)
def test_the_examples_show_what_their_prompts_say_and_nothing_else(
    alignment: Alignment, case: str, shown: str, others: list[str]
) -> None:
    with Image.open(DATA / case / "image" / "original_image.jpg") as picture:
        pixels = np.array(picture.convert("RGB").resize((512, 512)))
    seen = alignment.judge_windows(pixels, None)
    assert seen.score(parse_prompt(shown)) > 0.5
    for other in others:
        assert seen.score(parse_prompt(other)) < 0.5, other


def test_other_models_and_unknown_things_have_a_line_and_no_number() -> None:
    picture = np.zeros((32, 32, 3), np.uint8)
    edited = EditedPicture(picture, picture, None, "a dragon")
    assert "names no object" in load_scorer({}, CPU, "bundled").measure(edited).missing["alignment"]
    found = load_scorer({}, CPU, "infinity_2b").measure(edited)
    assert "another model" in found.missing["alignment"]
    assert "alignment" not in found.values
    assert "editinfinity weights fetch dino" in found.missing["structure_distance"]
