"""What the study compares: methods of drawing, and ways to find the place. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MASK, WORD, WORDS, BITS, BOTH, NONE = "mask", "word", "words", "bits", "both", "none"
PLACES = (MASK, WORD, WORDS, BITS, BOTH, NONE)
"""The hand-drawn mask, the attention to a word that the user gives, the three maps that are found
from the two prompts alone (``mask_source``), and no place: the whole picture may change."""


@dataclass(frozen=True)
class Method:
    """A way to draw an edit.

    Attributes:
        name: name in the tables.
        settings: settings that differ from the defaults of its guidance.
        learned: whether it draws over an inversion (soft prompt and LoRA of 50 iterations).
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    learned: bool = False


METHODS = (
    Method("plain"),
    Method("inversion", learned=True),
    Method("training_free", {"guidance": "source_negative", "cfg": 4.04, "smoothing": "dilated"}),
    Method("editmod, target", {"guidance": "editmod", "editmod_preset": "target"}),
    Method("editmod, preserve", {"guidance": "editmod", "editmod_preset": "preserve"}),
    Method("aredit", {"guidance": "aredit"}),
    Method("bitresedit", {"guidance": "bitresedit"}),
)
"""*plain* is blended sampling with nothing learned and plain guidance."""
