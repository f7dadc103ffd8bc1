"""The words of the bundled model's world, which live in the package: alignment reads them too.

Here is what only the making of scenes needs besides: the held-out split, and panoramas.
"""

import hashlib

import numpy as np

from editinfinity.evaluation.world.vocabulary import (
    BACKDROPS,
    COLOUR_NAMES,
    COLOUR_SYNONYMS,
    COLOURS,
    GREY,
    OBJECTS_TABLE,
    Backdrop,
    Thing,
    read_objects,
)

__all__ = [
    "BACKDROPS",
    "COLOURS",
    "COLOUR_NAMES",
    "COLOUR_SYNONYMS",
    "GREY",
    "HELD_OUT_IN",
    "OBJECTS_TABLE",
    "PANORAMAS",
    "SHARP_PANORAMAS",
    "Backdrop",
    "Thing",
    "held_out_table",
    "is_held_out",
    "read_objects",
]

HELD_OUT_IN = 10
"""One object × background pair in so many is never seen in training."""

PANORAMAS: dict[str, tuple[str, ...]] = {
    "forest": ("wide_forest", "forest"),
    "meadow": ("wide_sunrise", "park"),
    "city": ("wide_city", "city"),
    "room": ("wide_interior", "apartment"),
    "seaside": ("wide_sunset", "venice"),
    "square": ("sunset",),
    "desert": ("dawn",),
    "hall": ("hall",),
    "sky": ("sky",),
}
"""Which panoramas show which place; ``wide_`` ones have twice the resolution."""

SHARP_PANORAMAS = (
    "wide_courtyard", "wide_studio", "esplanade", "lobby", "warehouse", "workshop",
    *PANORAMAS["city"], *PANORAMAS["forest"],
)  # fmt: skip
"""Panoramas the tokenizer also sees in focus, as photographs."""


def is_held_out(thing: str, backdrop: str) -> bool:
    """Whether an object never stands before a background in training: 10 % of pairs, by hash."""
    digest = hashlib.sha256(f"{thing}|{backdrop}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % HELD_OUT_IN == 0


def held_out_table(things: tuple[Thing, ...]) -> np.ndarray:
    """(objects, backdrops) bool: which pairs are held out."""
    return np.array([[is_held_out(t.name, b.name) for b in BACKDROPS] for t in things])
