"""Parse a prompt into objects, colours and sides that the judge knows. Does not import torch."""

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

_ABSENT = re.compile(
    r"(?:\bno|\b(?P<without>without)(?: an?| any| the)?|\bnot an?)\s+(?:[\w-]+\s+)?$"
)
_NOR = re.compile(r"^\s*,?\s*(?:n?or|and|,)\s+(?:any )?(?:[\w-]+\s+)?$")
_NOR_A = re.compile(r"^\s*,?\s*(?:n?or|and|,)\s+(?:an?|any|the)\s+(?:[\w-]+\s+)?$")
"""``_NOR`` and ``_NOR_A`` match the text between two objects if a negation of the first may also
apply to the second, as in "no cup or ball". ``_NOR_A`` is the case in which the second has its own
article ("no cup and a ball"): there the negation applies only after "without" or with "or"."""
_AFTER = re.compile(r"^\s*,?\s*(?:on|to|at) the (left|right)\b")
_FILLING = (
    "a an the and or of with next to beside near on in at left right just only nothing but no "
    "without any empty scene there is this photo photograph picture image shot render rendering 3d "
    "close-up nice small little big large plain wall background"
)
_PLAIN = frozenset(_FILLING.split())
"""Words of the captions that name neither objects nor places."""


@dataclass(frozen=True)
class Wanted:
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
class Reading:
    """The parsed prompt.

    Attributes:
        wanted: the objects that it names, in the prompt's order.
        empty: whether it describes a scene without objects, using only known words.
    """

    wanted: tuple[Wanted, ...]
    empty: bool


def read_prompt_of_world(prompt: str) -> Reading:
    """Find the objects, colours and sides in a prompt, and whether it describes an empty scene.

    Longer names are matched first, so "teddy bear" does not count as "bear". Phrases for places are
    removed beforehand, so the colour in "a red wall" is not assigned to an object.
    """
    text = re.sub(r"\s+", " ", prompt.lower()).strip()
    text = _places().sub(lambda match: "~" * len(match.group()), text)
    found, rest = [], text
    absent, end = None, 0  # negation of the last object, and its end
    for match in _things().finditer(text):
        said = _ABSENT.search(text[: match.start()])
        if said is None and absent and _goes_on(absent, text[end : match.start()]):
            said = absent
        absent, end = said, match.end()
        rest = rest.replace(match.group(), "~", 1)
        side = _AFTER.match(text[match.end() :])
        colour = match["colour"]
        found.append(
            Wanted(
                _names()[_singular(match["thing"])],
                None if colour is None else _colours()[colour],
                side[1] if side else _side_of_pair(text, match.start(), match.end()),
                absent is not None,
            )
        )
    unknown = [word for word in re.findall(r"[\w-]+", rest) if word not in _PLAIN]
    return Reading(tuple(found), not found and "~" in text and not unknown)


def _goes_on(said: re.Match[str], between: str) -> bool:
    """Whether a negation of one object also applies to the next, given the text between them."""
    if _NOR_A.match(between):
        return bool(said["without"]) or re.search(r"\bn?or\b", between) is not None
    return _NOR.match(between) is not None


def _side_of_pair(text: str, start: int, end: int) -> str | None:
    """Return the side of an object in "A to the left of B"; None without that phrase."""
    if re.match(r"^\s*to the left of\b", text[end:]):
        return "left"
    if re.search(r"\bto the left of\s+(?:an? |the )?$", text[:start]):
        return "right"
    return None


@cache
def _names() -> dict[str, int]:
    """Return every name of an object → its index."""
    names: dict[str, int] = {}
    for index, thing in enumerate(read_objects()):
        for name in (thing.name, *thing.synonyms, *thing.unseen_synonyms):
            names.setdefault(name.lower(), index)
    return names


def _singular(name: str) -> str:
    if name in _names():
        return name
    return next(cut for cut in (name[:-1], name[:-2]) if cut in _names())


@cache
def _colours() -> dict[str, int]:
    """Return every name of a colour → its index."""
    names = {name: index for index, name in enumerate(COLOUR_NAMES)}
    for colour, others in COLOUR_SYNONYMS.items():
        names |= dict.fromkeys(others, names[colour])
    return names


@cache
def _things() -> re.Pattern[str]:
    things, colours = (
        "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
        for names in (_names(), _colours())
    )
    return re.compile(rf"(?<![\w-])(?:(?P<colour>{colours})\s+)?(?P<thing>(?:{things})(?:e?s)?)\b")


@cache
def _places() -> re.Pattern[str]:
    phrases = {phrase for place in BACKDROPS for phrase in (*place.places, *place.nouns)}
    ordered = sorted(phrases, key=len, reverse=True)
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, ordered))})\b")
