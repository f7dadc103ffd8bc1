"""A case: a photograph, its prompts and masks, and the settings of each edit.

Nothing here opens an image or judges a prompt: faults of a case must not stop the others, so what
is wrong is kept with the case, for its ``check`` job to report.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Text = Path | str
"""A prompt or a word: a UTF-8 file, or the text itself (as a table gives it)."""

MaskUse = Literal["mask_source", "judged_mask"]
"""Which of an edit's two masks is meant: the one that it is drawn under, or that metrics go by; the
attribute of ``Edit`` that says where that comes from."""

DRAW_FREELY, MAP_ONLY, BLEND = 0, 1, 2
"""Values of ``infer_function``, as the original guide numbers them."""


@dataclass(frozen=True)
class Edit:
    """One edit of a case.

    Attributes:
        name: its name, ``edit`` unless the user gave one.
        prompt: what the edited picture shows.
        mask: the user's mask, whether it is used or not.
        target_word: word of the source prompt to segment, whether it is used or not.
        settings: all settings of this edit, canonical.
    """

    name: str
    prompt: Text
    mask: Path | None
    target_word: Text | None
    settings: Mapping[str, Any]

    @property
    def infer_function(self) -> int:
        """What is drawn: ``DRAW_FREELY``, ``MAP_ONLY`` or ``BLEND``; null follows the mask."""
        forced = self.settings["infer_function"]
        if forced is not None:
            return int(forced)
        return DRAW_FREELY if self._mask_source_unforced == "none" else BLEND

    @property
    def _mask_source_unforced(self) -> str:
        asked = str(self.settings["mask_source"])
        if asked != "auto":
            return asked
        if self.mask is not None:
            return "user"
        return "none" if self.target_word is None else "attention"

    @property
    def mask_source(self) -> str:
        """Where the mask comes from: ``user``, ``attention`` or ``none``."""
        forced = {DRAW_FREELY: "none", MAP_ONLY: "attention"}
        return forced.get(self.infer_function, self._mask_source_unforced)

    @property
    def goes_everywhere_unasked(self) -> bool:
        """Whether everything may change only because there is neither a mask nor a word."""
        unasked = (self.settings["mask_source"], self.settings["infer_function"]) == ("auto", None)
        return unasked and self.mask_source == "none"

    @property
    def judged_mask(self) -> str:
        """Whose mask metrics go by: the user's where there is one, used or not, else the edit's."""
        return "user" if self.mask is not None else self.mask_source

    def faults(self) -> list[str]:
        """What the edit asks for and the case does not have, a line each."""
        source, given = self.mask_source, self.settings["mask_source"]
        if self.infer_function == BLEND and source == "none":
            return [
                f"edit {self.name}: infer_function: 2 blends under a mask, but there is none; add "
                "image/mask.png or prompt/target_word.txt, or set infer_function: 0"
            ]
        if source == "user" and self.mask is None:
            return [
                f"edit {self.name}: mask_source: {given}: there is no mask; add image/mask.png or "
                "set mask_source: auto"
            ]
        if source == "attention" and self.target_word is None:
            return [
                f"edit {self.name}: an attention map needs a target word; add "
                "prompt/target_word.txt with a word of the source prompt"
            ]
        return []


@dataclass(frozen=True)
class Case:
    """One photograph with its edits.

    Attributes:
        name: folder of the results.
        image: the photograph (which may be missing).
        source_prompt: describes it; None where the user gave none.
        edits: by name, in the order they run.
        settings: what training and encoding use, canonical.
        faults: what is plainly wrong, a line each, for ``check`` to report.
    """

    name: str
    image: Path
    source_prompt: Text | None
    edits: Mapping[str, Edit]
    settings: Mapping[str, Any]
    faults: tuple[str, ...] = ()

    def all_faults(self) -> list[str]:
        """Faults of the case and of its edits, each naming the case."""
        lines = [*self.faults, *(line for edit in self.edits.values() for line in edit.faults())]
        return [f"{self.name}: {line}" for line in lines]


@dataclass(frozen=True)
class Cases:
    """The cases that were asked for.

    Attributes:
        by_name: in the order they run.
        notices: a line for each folder or file that was passed over, and what may not be meant.
    """

    by_name: Mapping[str, Case]
    notices: tuple[str, ...] = ()
