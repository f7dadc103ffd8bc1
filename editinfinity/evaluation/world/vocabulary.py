"""What made scenes are made of: objects, colours and backgrounds.

Free of torch, so that tests and documents can use it.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

OBJECTS_TABLE = Path(__file__).parent / "objects.tsv"

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
"""Named colours as sRGB bytes: what "a blue ball" is painted with."""

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
        name: as people type it, singular.
        picture: code points of its picture, or ``own:NAME`` for one drawn here.
        synonyms: other names used in training captions.
        unseen_synonyms: names kept out of training, for tests of free-form prompts.
        recolourable: its body can be painted.
        colour: the colour it has by nature, or None when it has several.
    """

    name: str
    picture: str
    synonyms: tuple[str, ...]
    unseen_synonyms: tuple[str, ...]
    recolourable: bool
    colour: str | None
    category: str


def read_objects(path: Path = OBJECTS_TABLE) -> tuple[Thing, ...]:
    """The objects of a table like ``objects.tsv``, in its order."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
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
        for row in rows
    )


def _words(cell: str) -> tuple[str, ...]:
    return tuple(word for word in cell.split(",") if word)


@dataclass(frozen=True)
class Backdrop:
    """One kind of background.

    Attributes:
        name: of the kind; with an object's name it decides what is held out.
        places: phrases that follow an object ("on a wooden table").
        nouns: phrases for the empty scene ("a wooden table").
        weight: how often it is drawn, relative to the others.
        colour: of a plain background, else None.
    """

    name: str
    places: tuple[str, ...]
    nouns: tuple[str, ...]
    weight: float
    colour: tuple[int, int, int] | None = None


def _plain(name: str, rgb: tuple[int, int, int]) -> Backdrop:
    a = "an" if name[0] in "aeiou" else "a"
    nouns = (f"a plain {name} background", f"{a} {name} background", f"{a} {name} wall")
    places = (
        f"on a plain {name} background",
        f"on {a} {name} background",
        f"against {a} {name} background",
        f"in front of {a} {name} wall",
        f"with {a} {name} background",
    )
    return Backdrop(f"plain {name}", places, nouns, 3.2, rgb)


def _scene(name: str, places: str, nouns: str, weight: float) -> Backdrop:
    return Backdrop(name, tuple(places.split("|")), tuple(nouns.split("|")), weight)


_PLAIN = tuple(_plain(n, c) for n, c in {**COLOURS, "grey": GREY}.items())

_SURFACES = (
    _scene("grass", "on grass|on a lawn|on the green grass|in the grass", "grass|a lawn", 2.5),
    _scene("bricks", "in front of a brick wall|on bricks|against a brick wall",
           "a brick wall|bricks", 2),
    _scene("wood", "on wood|on wooden planks|on a wooden floor",
           "wooden planks|a wooden floor", 2.5),
    _scene("table", "on a wooden table|on a table|on the table|on a wooden desk",
           "a wooden table|an empty table|a table", 6),
    _scene("sand", "on sand|on the sand|on a sandy beach", "sand|a sandy beach", 2.5),
    _scene("snow", "in the snow|on snow|on white snow", "snow|white snow", 2.5),
    _scene("marble", "on marble|on a marble surface", "marble|a marble surface", 2),
    _scene("checkered", "on a checkered background|on a checkered tablecloth",
           "a checkered background|a checkered tablecloth", 1),
    _scene("striped", "on a striped background|against a striped wall",
           "a striped background|a striped wall", 1),
    _scene("lights", "in front of blurry lights|with lights in the background",
           "blurry lights|lights in the dark", 2),
    _scene("starry", "in front of a starry sky|in space|in a starry night sky",
           "a starry sky|outer space|a starry night sky", 2),
    _scene("tiles", "on tiles|on a tiled floor|in front of a tiled wall", "tiles|a tiled floor",
           1.5),
)  # fmt: skip

_PLACES = (
    _scene("forest", "in a forest|in the woods|among trees", "a forest|the woods", 3),
    _scene("meadow", "in a meadow|in a field|in a green field|in a park", "a meadow|a field", 3),
    _scene("city", "in a city|on a city street|in the street", "a city|a city street", 3),
    _scene("room", "in a room|in a bedroom|in a hotel room", "a room|a bedroom", 2.5),
    _scene("seaside", "by the sea|by the water|at the seaside", "the sea|the seaside", 3),
    _scene("square", "on a town square|in an old town", "a town square|an old town", 2),
    _scene("desert", "in the desert|in a rocky desert|on rocks", "the desert|a rocky desert", 2.5),
    _scene("hall", "in a hall|in a large hall", "a hall|a large hall", 2),
    _scene("sky", "in the sky|in front of clouds|above the clouds", "the sky|a cloudy sky", 3.5),
)  # fmt: skip

BACKDROPS: tuple[Backdrop, ...] = _PLAIN + _SURFACES + _PLACES
