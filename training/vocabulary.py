"""The words of the bundled model's world, which live in the package: alignment reads them too."""

from editinfinity.evaluation.world.vocabulary import (
    BACKDROPS,
    COLOUR_NAMES,
    COLOUR_SYNONYMS,
    COLOURS,
    GREY,
    HELD_OUT_IN,
    OBJECTS_TABLE,
    PANORAMAS,
    SHARP_PANORAMAS,
    Backdrop,
    Thing,
    held_out_table,
    is_held_out,
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
