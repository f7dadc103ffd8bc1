"""The vocabulary of the bundled model: words from the package, which alignment uses too.

This module adds what only the training needs: the held-out split, and the panoramas.
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
"""One in this number of object × background pairs is never used in training."""

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
"""Backdrop → its panoramas; those named ``wide_`` have twice the resolution."""

SHARP_PANORAMAS = (
    "wide_courtyard", "wide_studio", "esplanade", "lobby", "warehouse", "workshop",
    *PANORAMAS["city"], *PANORAMAS["forest"],
)  # fmt: skip
"""Panoramas the tokenizer also sees in focus, as photographs."""


def is_held_out(thing: str, backdrop: str) -> bool:
    """Return whether training never combines an object and a background (10 %, by a hash)."""
    digest = hashlib.sha256(f"{thing}|{backdrop}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % HELD_OUT_IN == 0


def held_out_table(things: tuple[Thing, ...]) -> np.ndarray:
    """Return which pairs are held out, (objects, backdrops) bool."""
    return np.array([[is_held_out(t.name, b.name) for b in BACKDROPS] for t in things])
