"""Parse a prompt into the objects, colours and sides that it names. Does not import torch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from editinfinity.evaluation.world.vocabulary import (
    BACKDROPS,
    COLOUR_NAMES,
    COLOUR_SYNONYMS,
    read_objects,
)

_NEGATION = re.compile(
    r"(?:\bno|\b(?P<without>without)(?: an?| any| the)?|\bnot an?)\s+(?:[\w-]+\s+)?$"
)
_NOR = re.compile(r"^\s*,?\s*(?:n?or|and|,)\s+(?:any )?(?:[\w-]+\s+)?$")
_NOR_A = re.compile(r"^\s*,?\s*(?:n?or|and|,)\s+(?:an?|any|the)\s+(?:[\w-]+\s+)?$")
"""``_NOR`` and ``_NOR_A`` match the text between two objects if a negation of the first may also
apply to the second, as in "no cup or ball". ``_NOR_A`` is the case in which the second has its own
article ("no cup and a ball"): there the negation applies only after "without" or with "or"."""
_SIDE = re.compile(r"^\s*,?\s*(?:on|to|at) the (left|right)\b")
_NEUTRAL = (
    "a an the and or of with next to beside near on in at left right just only nothing but no "
    "without any empty scene there is this photo photograph picture image shot render rendering 3d "
    "close-up nice small little big large plain wall background"
)
_NEUTRAL_WORDS = frozenset(_NEUTRAL.split())
"""Words of the training captions that name neither objects nor backgrounds."""


@dataclass(frozen=True)
class NamedObject:
    """One object that a prompt names.

    Attributes:
        thing: index into ``read_objects()``.
        colour: index into ``COLOUR_NAMES``; None if the prompt names no colour.
        side: ``left`` or ``right``; None if the prompt names no side.
        absent: whether the prompt says that the object is absent.
    """

    thing: int
    colour: int | None = None
    side: str | None = None
    absent: bool = False


@dataclass(frozen=True)
class ParsedPrompt:
    """What a prompt asks for.

    Attributes:
        objects: the objects that it names, in the prompt's order.
        empty: whether it describes a scene without objects, using only known words.
    """

    objects: tuple[NamedObject, ...]
    empty: bool


def parse_prompt(prompt: str) -> ParsedPrompt:
    """Find the objects, colours and sides in a prompt, and whether it describes an empty scene.

    Longer names are matched first, so "teddy bear" does not count as "bear". Background phrases are
    removed beforehand, so the colour in "a red wall" is not assigned to an object.
    """
    text = re.sub(r"\s+", " ", prompt.lower()).strip()
    text = _background_pattern().sub(lambda match: "~" * len(match.group()), text)
    found, rest = [], text
    previous, end = None, 0  # negation of the previous object, and that object's end
    for match in _object_pattern().finditer(text):
        negation = _NEGATION.search(text[: match.start()])
        if negation is None and previous and _continues(previous, text[end : match.start()]):
            negation = previous
        previous, end = negation, match.end()
        rest = rest.replace(match.group(), "~", 1)
        side = _SIDE.match(text[match.end() :])
        colour = match["colour"]
        found.append(
            NamedObject(
                _object_indices()[_singular(match["thing"])],
                None if colour is None else _colour_indices()[colour],
                side[1] if side else _side_of_pair(text, match.start(), match.end()),
                negation is not None,
            )
        )
    unknown = [word for word in re.findall(r"[\w-]+", rest) if word not in _NEUTRAL_WORDS]
    return ParsedPrompt(tuple(found), not found and "~" in text and not unknown)


def _continues(negation: re.Match[str], between: str) -> bool:
    """Whether a negation of one object also applies to the next, given the text between them."""
    if _NOR_A.match(between):
        return bool(negation["without"]) or re.search(r"\bn?or\b", between) is not None
    return _NOR.match(between) is not None


def _side_of_pair(text: str, start: int, end: int) -> str | None:
    """Return the side of an object in "A to the left of B"; None without that phrase."""
    if re.match(r"^\s*to the left of\b", text[end:]):
        return "left"
    if re.search(r"\bto the left of\s+(?:an? |the )?$", text[:start]):
        return "right"
    return None


@cache
def _object_indices() -> dict[str, int]:
    """Return every name of an object → its index."""
    names: dict[str, int] = {}
    for index, thing in enumerate(read_objects()):
        for name in (thing.name, *thing.synonyms, *thing.unseen_synonyms):
            names.setdefault(name.lower(), index)
    return names


def _singular(name: str) -> str:
    if name in _object_indices():
        return name
    return next(stem for stem in (name[:-1], name[:-2]) if stem in _object_indices())


@cache
def _colour_indices() -> dict[str, int]:
    """Return every name of a colour → its index."""
    names = {name: index for index, name in enumerate(COLOUR_NAMES)}
    for colour, others in COLOUR_SYNONYMS.items():
        names |= dict.fromkeys(others, names[colour])
    return names


@cache
def _object_pattern() -> re.Pattern[str]:
    things, colours = (
        "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
        for names in (_object_indices(), _colour_indices())
    )
    return re.compile(rf"(?<![\w-])(?:(?P<colour>{colours})\s+)?(?P<thing>(?:{things})(?:e?s)?)\b")


@cache
def _background_pattern() -> re.Pattern[str]:
    phrases = {phrase for place in BACKDROPS for phrase in (*place.places, *place.nouns)}
    ordered = sorted(phrases, key=len, reverse=True)
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, ordered))})\b")
