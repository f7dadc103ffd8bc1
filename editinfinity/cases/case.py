"""A case: a photograph, its prompts and masks, and the settings of each edit.

This module opens no image and validates no prompt, because a fault in one case must not stop the
others. Faults are stored with the case, and the case's ``check`` job reports them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from editinfinity.names import printable
from editinfinity.settings.groups import FOUND
from editinfinity.settings.guidance import guidance_of, unused_lists, values_of

Text = Path | str
"""A prompt or a word: either the path of a UTF-8 file, or the text itself (from a table)."""

MaskUse = Literal["mask_source", "judged_mask"]
"""One of an edit's two masks: ``mask_source`` is the mask used for drawing, ``judged_mask`` the one
used by the metrics. The value is the name of the ``Edit`` attribute that holds the mask's
origin."""

DRAW_FREELY, MAP_ONLY, BLEND = 0, 1, 2
"""Values of ``infer_function``, numbered as in the original guide."""


@dataclass(frozen=True)
class Edit:
    """One edit of a case.

    Attributes:
        name: name of the edit; ``edit`` unless the user gave one.
        prompt: description of the edited picture.
        mask: the user's mask, whether or not it is used.
        target_word: word of the source prompt to segment, whether or not it is used.
        settings: all settings of this edit, in canonical form.
        blend: the user's own blend mask, whether or not it is used.
    """

    name: str
    prompt: Text
    mask: Path | None
    target_word: Text | None
    settings: Mapping[str, Any]
    blend: Path | None = None

    @property
    def infer_function(self) -> int:
        """The drawing mode: ``DRAW_FREELY``, ``MAP_ONLY`` or ``BLEND``.

        If the setting is null, the mode depends on whether the edit has a mask.
        """
        forced = self.settings["infer_function"]
        if forced is not None:
            return int(forced)
        return DRAW_FREELY if self._chosen_mask_source == "none" else BLEND

    @property
    def _chosen_mask_source(self) -> str:
        """The setting ``mask_source`` with ``auto`` resolved, ignoring ``infer_function``."""
        setting = str(self.settings["mask_source"])
        return setting if setting != "auto" else next(iter(self._places), "none")

    @property
    def _places(self) -> dict[str, Text]:
        """Mask source → its file or text, of what the case has, the first takes precedence."""
        places = {"blend": self.blend, "user": self.mask, "attention": self.target_word}
        return {source: place for source, place in places.items() if place is not None}

    @property
    def mask_source(self) -> str:
        """Origin of the mask: ``blend``, ``user``, ``attention``, one of ``FOUND`` or ``none``."""
        chosen = self._chosen_mask_source
        forced = {DRAW_FREELY: "none", MAP_ONLY: chosen if chosen in FOUND else "attention"}
        return forced.get(self.infer_function, chosen)

    @property
    def find_mask(self) -> str | None:
        """The map of ``FOUND`` that the region is found from; None if it has another origin."""
        return self.mask_source if self.mask_source in FOUND else None

    @property
    def place(self) -> Text | None:
        """The file or text that decides where to edit; None if the whole picture may change."""
        return self._places.get(self.mask_source)

    @property
    def passed_over(self) -> dict[Text, str]:
        """Other files or texts that could decide where to edit → the ``mask_source`` to use them.

        Empty if a setting made the choice.
        """
        if self.settings["mask_source"] != "auto" or self.mask_source != self._chosen_mask_source:
            return {}
        return {place: source for source, place in self._places.items() if place != self.place}

    @property
    def edits_everything_by_default(self) -> bool:
        """Whether the whole picture may change only because the edit has neither a mask nor a word.

        False if the user set ``mask_source`` or ``infer_function`` explicitly.
        """
        default = (self.settings["mask_source"], self.settings["infer_function"]) == ("auto", None)
        return default and self.mask_source == "none"

    @property
    def judged_mask(self) -> str:
        """Origin of the mask that metrics use.

        It is the user's mask if there is one, whether or not it is used for drawing, else the
        edit's mask.
        """
        return "user" if self.mask is not None else self.mask_source

    def faults(self) -> list[str]:
        """Return one message about the input that the edit's settings need and the case lacks.

        The list is empty if nothing is missing. ``infer_function: 2`` needs a mask or a target
        word; ``mask_source`` needs the one that it names.
        """
        source, setting = self.mask_source, self.settings["mask_source"]
        if self.infer_function == BLEND and source == "none":
            return [
                f"edit {self.name}: infer_function: 2 needs a mask, but there is none; add "
                "image/mask.png or prompt/target_word.txt, or set infer_function: 0"
            ]
        if source == "user" and self.mask is None:
            return [
                f"edit {self.name}: mask_source: {setting}: there is no mask; add image/mask.png "
                "or set mask_source: auto"
            ]
        if source == "blend" and self.blend is None:
            return [
                f"edit {self.name}: mask_source: blend: there is no blend mask; add "
                "image/blend.npy or set mask_source: auto"
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
        name: name of the case and of its results folder.
        image: path of the photograph (which may be missing).
        source_prompt: description of the photograph; None if the user gave none.
        edits: edits by name, in the order in which they run.
        settings: settings used by training and encoding, in canonical form.
        faults: definite faults, one line each, which ``check`` reports.
    """

    name: str
    image: Path
    source_prompt: Text | None
    edits: Mapping[str, Edit]
    settings: Mapping[str, Any]
    faults: tuple[str, ...] = ()

    def all_faults(self) -> list[str]:
        """Return the faults of the case and of its edits, each prefixed with the case's name."""
        lines = [*self.faults, *(line for edit in self.edits.values() for line in edit.faults())]
        return [f"{self.name}: {line}" for line in lines]

    def notices(self) -> list[str]:
        """Return one line for each input that has no effect, prefixed with the case's name."""
        edits = self.edits.values()
        used = {edit.place for edit in edits}  # a file that one edit does not use may be another's
        lines = []
        for place in dict.fromkeys(edit.place for edit in edits if edit.passed_over):
            unused = {
                other: source
                for edit in edits
                if edit.place == place
                for other, source in edit.passed_over.items()
                if other not in used
            }
            if place is not None and unused:
                lines.append(
                    f"{' and '.join(map(_name_of, unused))} {'are' if len(unused) > 1 else 'is'} "
                    f"not used to edit, because there is {_name_of(place)}; delete what you do not "
                    f"need, or set mask_source: {' or '.join(dict.fromkeys(unused.values()))}"
                )
        lines += [
            f"{_name_of(edit.blend)} is used as it is, so a sweep over smoothing draws equal "
            "pictures; set smoothing to one value"
            for edit in edits
            if edit.blend
            and edit.mask_source == "blend"
            and len(values_of(edit.settings, "smoothing")) > 1
        ]
        lines += [
            f"{key} is a list, but {guidance_of(edit.settings)} does not use it, so nothing more "
            f"is drawn; set method: {key.partition('_')[0]}, or {key} to one value"
            for edit in edits
            for key in unused_lists(edit.settings)
        ]
        return [f"{self.name}: {line}" for line in dict.fromkeys(lines)]


def _name_of(place: Text) -> str:
    return printable(place.name) if isinstance(place, Path) else f"the target word {place!r}"


@dataclass(frozen=True)
class Cases:
    """The cases of a run.

    Attributes:
        by_name: cases by name, in the order in which they run.
        notices: one line for each folder or file that was skipped, and for each input that is valid
            but possibly a mistake.
    """

    by_name: Mapping[str, Case]
    notices: tuple[str, ...] = ()
