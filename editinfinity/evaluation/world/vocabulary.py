"""The objects, colours and backgrounds of which synthetic scenes are composed.

Does not import torch, so that tests and documentation can use it cheaply.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

OBJECTS_TABLE = Path(__file__).parent / "objects.tsv"
BACKDROPS_TABLE = OBJECTS_TABLE.with_name("backdrops.tsv")
"""Table of backgrounds: surfaces first, then places. Phrases are separated by |."""

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (208, 34, 40),
    "orange": (242, 128, 24),
    "yellow": (246, 208, 40),
    "green": (52, 160, 66),
    "blue": (42, 98, 216),
    "purple": (124, 58, 182),
    "pink": (247, 128, 178),
    "brown": (124, 74, 40),
    "black": (34, 34, 38),
    "white": (240, 240, 243),
}
"""Colour name → sRGB bytes with which an object of that colour ("a blue ball") is painted."""

COLOUR_NAMES = tuple(COLOURS)

COLOUR_SYNONYMS: dict[str, tuple[str, ...]] = {
    "red": ("bright red", "scarlet"),
    "yellow": ("golden", "bright yellow"),
    "green": ("emerald green",),
    "blue": ("bright blue",),
    "purple": ("violet",),
    "black": ("dark black",),
}

GREY = (140, 141, 146)


@dataclass(frozen=True)
class Thing:
    """One object of the list.

    Attributes:
        name: the name as people type it, in the singular.
        picture: emoji code points of its picture, or ``own:NAME`` for one drawn by this project.
        synonyms: other names used in training captions.
        unseen_synonyms: names not used in training, for tests of free-form prompts.
        recolourable: whether its body can be painted in another colour.
        colour: its natural colour; None if it has several.
    """

    name: str
    picture: str
    synonyms: tuple[str, ...]
    unseen_synonyms: tuple[str, ...]
    recolourable: bool
    colour: str | None
    category: str


def read_objects() -> tuple[Thing, ...]:
    """Return the objects of ``objects.tsv``, in the order of the file."""
    return tuple(
        Thing(
            name=row["name"],
            picture=row["picture"],
            synonyms=_words(row["synonyms"]),
            unseen_synonyms=_words(row["unseen_synonyms"]),
            recolourable=row["recolour"] == "body",
            colour=row["colour"] or None,
            category=row["category"],
        )
        for row in _rows(OBJECTS_TABLE)
    )


def _rows(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def _words(cell: str) -> tuple[str, ...]:
    return tuple(word for word in cell.split(",") if word)


@dataclass(frozen=True)
class Backdrop:
    """One kind of background.

    Attributes:
        name: name of the kind. Combinations of object and background names are held out by it.
        places: phrases that follow an object ("on a wooden table").
        nouns: phrases for the empty scene ("a wooden table").
        weight: how often it is drawn, relative to the other kinds.
        colour: colour of a plain background, else None.
    """

    name: str
    places: tuple[str, ...]
    nouns: tuple[str, ...]
    weight: float
    colour: tuple[int, int, int] | None = None


def _plain_backdrop(name: str, rgb: tuple[int, int, int]) -> Backdrop:
    article = "an" if name[0] in "aeiou" else "a"
    nouns = (f"a plain {name} background", f"{article} {name} background", f"{article} {name} wall")
    places = (
        f"on a plain {name} background",
        f"on {article} {name} background",
        f"against {article} {name} background",
        f"in front of {article} {name} wall",
        f"with {article} {name} background",
    )
    return Backdrop(f"plain {name}", places, nouns, 3.2, rgb)


def _scenes() -> Iterator[Backdrop]:
    for row in _rows(BACKDROPS_TABLE):
        places, nouns = (tuple(row[column].split("|")) for column in ("places", "nouns"))
        yield Backdrop(row["name"], places, nouns, float(row["weight"]))


BACKDROPS: tuple[Backdrop, ...] = (
    *(_plain_backdrop(name, rgb) for name, rgb in {**COLOURS, "grey": GREY}.items()),
    *_scenes(),
)
