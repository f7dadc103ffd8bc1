"""Which words differ between two prompts."""

from __future__ import annotations

import pytest

from editinfinity.errors import UserError
from editinfinity.method.prompt_changes import changed_words, require_comparable


@pytest.mark.parametrize(
    ("source", "target", "gone", "new", "is_addition"),
    [
        # replaced, recoloured, added, removed
        ("a cat on a hill", "a dog on a hill", "cat", "dog", False),
        ("a red car in a forest", "a blue car in a forest", "red car", "blue car", False),
        ("a beach", "a dog on a beach", "", "dog", True),
        ("a table with a cup", "a table", "cup", "", False),
        # a word that joins a phrase, or leaves it, changes the thing that is there
        ("a car in a forest", "a red car in a forest", "car", "red car", False),
        ("a red car in a forest", "a car in a forest", "red car", "car", False),
        # several changes, and words of several phrases
        ("a red car in a forest", "a blue car on a beach", "red car forest", "blue car beach",
         False),
        ("a teddy bear and a cup", "a cupcake and a cup", "teddy bear", "cupcake", False),
        ("a dog and a dog", "a dog and a cat", "dog", "cat", False),
        # order: things that trade places are the same, things that trade colours are not
        ("a dog and a cat", "a cat and a dog", "", "", False),
        ("a cup on a table", "On a table, a cup.", "", "", False),
        ("a red car and a blue house", "a blue car and a red house",
         "red car blue house", "blue car red house", False),
        ("a cup on a table", "on a table, a vase", "cup", "vase", False),
        # words that name no thing, letter case, white space, punctuation
        ("a photo of a dog", "this is the picture of a Dog.", "", "", False),
        ("a dog on the left", "a dog  on the right", "", "", False),
        ("a photo of a dog", "a cat", "dog", "cat", False),
        ("a dog, grass", "a dog; sand", "grass", "sand", False),
        ("the cook's knife", "the cook’s spoon", "cook's knife", "cook’s spoon", False),
        ("a half-open door", "a closed door", "half-open door", "closed door", False),
        ("ein roter Apfel", "ein grüner Apfel", "ein roter Apfel", "ein grüner Apfel", False),
        ("красный дом", "синий дом", "красный дом", "синий дом", False),
        # accents and vowel signs, composed with their letter or not
        ("a cafe\u0301 table", "a café table", "", "", False),
        ("a cafe\u0301 table, grass", "a café table, sand", "grass", "sand", False),
        ("लाल कार", "नीली कार", "लाल कार", "नीली कार", False),
        ("a ﬁsh", "a fish", "", "", False),
        ("a sun ☀\ufe0f", "a sun", "", "", False),
        ("a dog", "!?", "dog", "", False),
        ("", "a dog", "", "dog", True),
        ("snake_case", "snake_house", "snake case", "snake house", False),
    ],
)  # fmt: skip
def test_changed_words(source: str, target: str, gone: str, new: str, is_addition: bool) -> None:
    change = changed_words(source, target)
    found = (
        " ".join(source[start:end] for start, end in change.gone),
        " ".join(target[start:end] for start, end in change.new),
        change.is_addition,
    )
    assert found == (gone, new, is_addition)
    assert bool(change) == bool(gone or new)


def test_prompts_that_cannot_be_compared_say_what_to_write() -> None:
    require_comparable("a dog", "a cat")
    require_comparable("a cat", "a dog")
    with pytest.raises(UserError, match="x: .* no source prompt; write one that describes"):
        require_comparable(" ", "a cat", "x")
    with pytest.raises(UserError, match="they are equal; write what changes"):
        require_comparable("a  dog ", "a dog")
    with pytest.raises(UserError, match="they are equal"):
        require_comparable("a cafe\u0301", "a café")


def test_of_equal_phrases_the_later_ones_are_gone() -> None:
    change = changed_words("a cup, a cup, a cup", "a cup")
    assert change.gone == ((9, 12), (16, 19)) and change.new == ()
    assert changed_words("(cup", "cup, hat").new == ((5, 8),)
