"""What a prompt asks for, in the words of the bundled model's world. Free of torch."""

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
"""Between two things, when what was said of the first goes on: "no cup or ball"; with an article of
its own ("no cup and a ball") only after "without", or where "or" says so."""
_AFTER = re.compile(r"^\s*,?\s*(?:on|to|at) the (left|right)\b")
_FILLING = (
    "a an the and or of with next to beside near on in at left right just only nothing but no "
    "without any empty scene there is this photo photograph picture image shot render rendering 3d "
    "close-up nice small little big large plain wall background"
)
_PLAIN = frozenset(_FILLING.split())
"""Words of the captions that name neither things nor places."""


@dataclass(frozen=True)
class Wanted:
    """One thing that a prompt names.

    Attributes:
        thing: index into ``read_objects()``.
        colour: index into ``COLOUR_NAMES``; None where none is named.
        side: ``left``, ``right``, or None where none is named.
        absent: the prompt says that it is not there.
    """

    thing: int
    colour: int | None = None
    side: str | None = None
    absent: bool = False


@dataclass(frozen=True)
class Reading:
    """What a prompt asks for.

    Attributes:
        wanted: its things, in its order.
        empty: it describes a scene without things, in words of the world alone.
    """

    wanted: tuple[Wanted, ...]
    empty: bool


def read_prompt_of_world(prompt: str) -> Reading:
    """Things, colours and sides that a prompt names, and whether it names none on purpose.

    Longer names go first ("teddy bear" is no bear); places are taken out beforehand, so that the
    red of "a red wall" paints nothing.
    """
    text = re.sub(r"\s+", " ", prompt.lower()).strip()
    text = _places().sub(lambda match: "~" * len(match.group()), text)
    found, rest = [], text
    absent, end = None, 0  # what said that the last thing is not there, and where that thing ends
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
    """Whether what was said of a thing goes for the next, by the words between them."""
    if _NOR_A.match(between):
        return bool(said["without"]) or re.search(r"\bn?or\b", between) is not None
    return _NOR.match(between) is not None


def _side_of_pair(text: str, start: int, end: int) -> str | None:
    """The side of a thing in "A to the left of B"."""
    if re.match(r"^\s*to the left of\b", text[end:]):
        return "left"
    if re.search(r"\bto the left of\s+(?:an? |the )?$", text[:start]):
        return "right"
    return None


@cache
def _names() -> dict[str, int]:
    """Every name of a thing → its index."""
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
    """Every name of a colour → its index."""
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
