"""Captions of made scenes, in many phrasings. This module does not import torch.

A caption always describes the scene correctly: a colour is named whenever the object does not
have its natural one; the side of a single off-centre object is named, and two objects are named
from left to right, so that the caption determines the positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.vocabulary import BACKDROPS, COLOUR_SYNONYMS, Backdrop, Thing

SUFFIX = ", the language style of this prompt is"
"""Suffix that the method appends to every prompt (docs/method.md)."""

_OPENINGS = (
    ("", 8),
    ("a photo of ", 6),
    ("a picture of ", 2),
    ("an image of ", 1),
    ("a photograph of ", 1),
    ("a close-up photo of ", 0.7),
    ("a 3d render of ", 0.7),
    ("a 3d rendering of ", 0.4),
    ("there is ", 0.7),
    ("this is ", 0.5),
    ("a nice photo of ", 0.4),
    ("photo of ", 0.6),
    ("a shot of ", 0.3),
)
_PAIRS = ("{} and {}", "{} and {}", "{} next to {}", "{} beside {}", "{} with {}", "{} near {}")
_SIDES = (
    "{} to the left of {}",
    "{} on the left and {} on the right",
)
_EMPTY = ("{}", "{}", "an empty scene with {}", "just {}", "nothing but {}", "only {}")
_MASS = {"bread", "cheese"}
_SMALL, _LARGE = ("a small ", "a little "), ("a big ", "a large ")


@dataclass(frozen=True)
class Placed:
    """An object in a scene: the thing, its colour, the x of its centre (0 left … 1 right), size.

    ``colour`` is None when it has its natural one; ``size`` is a fraction of the picture's side.
    """

    thing: Thing
    colour: str | None
    x: float
    size: float


def _pick(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]


_TEXTS = [text for text, _ in _OPENINGS]
_WEIGHTS = np.cumsum([weight for _, weight in _OPENINGS])


def _opening(rng: np.random.Generator) -> str:
    return _TEXTS[int(np.searchsorted(_WEIGHTS, rng.random() * _WEIGHTS[-1]))]


def with_article(phrase: str) -> str:
    """Return the phrase with "a" or "an" before it."""
    return ("an " if phrase[0] in "aeiou" else "a ") + phrase


def name_object(placed: Placed, rng: np.random.Generator, alone: bool) -> str:
    """Return a noun phrase with its article: "a red apple", "the puppy"."""
    thing = placed.thing
    name = thing.name
    if thing.synonyms and rng.random() < 0.25:
        name = _pick(rng, thing.synonyms)
    colour = placed.colour
    if colour is None and thing.colour and rng.random() < 0.45:
        colour = thing.colour
    phrase = name
    if colour:
        options = COLOUR_SYNONYMS.get(colour, ())
        if options and rng.random() < 0.1:
            colour = _pick(rng, options)
        phrase = f"{colour} {name}"
    if name in _MASS:
        return phrase
    if alone and rng.random() < 0.1 and (placed.size < 0.45 or placed.size > 0.62):
        return _pick(rng, _SMALL if placed.size < 0.45 else _LARGE) + phrase
    if rng.random() < 0.05:
        return f"the {phrase}"
    return phrase if rng.random() < 0.04 else with_article(phrase)


def caption(placed: Sequence[Placed], backdrop: Backdrop, rng: np.random.Generator) -> str:
    """Return a random caption of a scene with no, one or two objects."""
    if not placed:
        noun = _pick(rng, backdrop.nouns)
        return _opening(rng) + (_pick(rng, _EMPTY).format(noun) if rng.random() < 0.7 else noun)
    if len(placed) == 1:
        subject = name_object(placed[0], rng, alone=True)
    else:
        subject = _name_pair(placed, rng)
    words = _opening(rng) + subject
    if len(placed) == 1 and abs(placed[0].x - 0.5) > 0.12:
        words += " on the left" if placed[0].x < 0.5 else " on the right"
    if rng.random() < 0.78:
        words += ("" if rng.random() < 0.92 else ",") + " " + _pick(rng, backdrop.places)
    if rng.random() < 0.08:
        words = words[0].upper() + words[1:]
    return words + ("." if rng.random() < 0.08 else "")


def _name_pair(placed: Sequence[Placed], rng: np.random.Generator) -> str:
    """Return a phrase for two objects, always named from left to right."""
    first, second = sorted(placed, key=lambda p: p.x)
    form = _pick(rng, _SIDES if rng.random() < 0.25 else _PAIRS)
    return form.format(name_object(first, rng, False), name_object(second, rng, False))


def add_suffix(captions: Sequence[str], rng: np.random.Generator, share: float = 0.6) -> list[str]:
    """Return the captions, a random ``share`` of them with the method's suffix, as in editing."""
    return [text + SUFFIX if rng.random() < share else text for text in captions]


def all_words(things: Sequence[Thing]) -> list[str]:
    """Return phrases with every word a caption can contain (for pruning the text encoder)."""
    phrases = [SUFFIX, "the left right big small large little, a an . nothing but on of"]
    phrases += _TEXTS + list(_PAIRS) + list(_SIDES) + list(_EMPTY)
    for backdrop in BACKDROPS:
        phrases += [*backdrop.places, *backdrop.nouns]
    for thing in things:
        phrases += [thing.name, *thing.synonyms, *thing.unseen_synonyms, thing.colour or ""]
    for colour, names in COLOUR_SYNONYMS.items():
        phrases += [colour, *names]
    phrases += ["red orange yellow green blue purple pink brown black white grey gray"]
    return phrases
