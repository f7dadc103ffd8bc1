"""Options of the commands that edit photographs, and the settings that follow from them."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from editinfinity.cases.create import NewEdit
from editinfinity.cli.options import completion_of, setting_option
from editinfinity.cli.streams import text_or_standard_input
from editinfinity.errors import UserError
from editinfinity.files.input_files import path_on_disk
from editinfinity.method.prompt_changes import require_comparable
from editinfinity.settings.groups import (
    FOUND,
    SETTINGS,
    InversionSettings,
    LoraSettings,
    ModelSettings,
    TrainingSettings,
)

log = logging.getLogger(__name__)


def on_disk(path: Path | None) -> Path | None:
    """Return the path of an option as its names are spelled on the disk."""
    return None if path is None else path_on_disk(path)


Image = Annotated[Path, typer.Argument(help="The photograph.", callback=on_disk)]
Prompt = Annotated[
    str,
    typer.Option(
        help="Description of the edited picture; - reads it from standard input.",
        callback=text_or_standard_input,
    ),
]
Source = Annotated[str | None, typer.Option(help="Description of the photograph.")]
Mask = Annotated[
    Path | None,
    typer.Option(
        help="Region to edit: a picture (black), annotations, box (.txt).", callback=on_disk
    ),
]
Blend = Annotated[
    Path | None,
    typer.Option(help="Blend mask of your own (.npy, .safetensors, .png).", callback=on_disk),
]
Box = Annotated[str | None, typer.Option(help="Region to edit: x,y,width,height in pixels.")]
Target = Annotated[
    str | None,
    typer.Option(help="Word for what to edit, found in --source; instead of a mask."),
]
Region = Annotated[str | None, setting_option("mask_edit_region")]
FindMask = Annotated[
    str | None,
    typer.Option(
        help="Find the region by comparing --source and --prompt: words, bits or both (the best); "
        "drawn without training unless --set method says otherwise.",
        autocompletion=completion_of(FOUND),
    ),
]
Model = Annotated[str, setting_option("model")]
Set = Annotated[
    list[str] | None,
    typer.Option(help="A setting of config.yaml, as KEY=VALUE; can be repeated."),
]
Work = Annotated[Path, typer.Option(help="Folder that keeps trained files between edits.")]

WORK = Path(".editinfinity")
"""Default of ``--work``."""


_DEFAULTS = {"crop": "auto", "metrics": 0}
"""Settings that differ from config.yaml's defaults: edit at full detail, compute no metrics."""


FIND_MASK, FOUND_METHOD = "both", "editmod"
"""How these commands find a region that no option gives, and draw in a found region unless a method
is set. Of all such pairs with which every edit was right, this one kept most of the photograph
(docs/which_way.md)."""


TRAINED_METHOD = "inversion"
"""The method that trains the model on the photograph; the default."""


_PLACE, _METHOD = {"mask_source", "infer_function"}, {"method", "guidance"}
"""Settings that choose where to edit, and how."""


_OF_TRAINING = frozenset(
    key for group in (InversionSettings, TrainingSettings, LoraSettings) for key in group.settings()
)
"""Settings that have an effect only where something is trained."""


_RESERVED = frozenset({"cases", "data", "results", "slice", "pie_bench", "overrides"})
"""Settings that these commands rely on: they describe the project folder that they create."""


def parse_set(options: Iterable[str] | None) -> dict[str, Any]:
    """Return setting → value for ``--set`` options.

    Raises:
        UserError: one is not ``KEY=VALUE``, is reserved, or is a list that draws several pictures.
    """
    import yaml

    settings = {}
    for text in options or ():
        key, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"--set: {text!r} is not KEY=VALUE, e.g. train_lora_iter=30")
        if key.strip() in _RESERVED:
            raise UserError(f"--set: {key.strip()} is set by this command; leave it out")
        try:
            settings[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise UserError(f"--set: {text!r}: the value is not valid YAML") from None
    _require_one_picture(settings)
    return settings


def _require_one_picture(settings: Mapping[str, Any]) -> None:
    """Raise if settings make several pictures of which these commands would deliver the first."""
    if settings.get("select", "first") != "first":
        return
    for key, value in settings.items():
        if isinstance(value, list) and len(value) > 1 and key in SETTINGS and SETTINGS[key].sweep:
            raise UserError(
                f"--set {key}: draws {len(value)} pictures, of which only the first would be "
                "written; give one value, or add --set select=best"
            )


@dataclass(frozen=True)
class EditOptions:
    """Options of the commands ``edit`` and ``batch``."""

    prompt: Prompt
    source: Source = None
    target: Target = None
    seed: Annotated[int | None, setting_option("seed")] = None
    mask_edit_region: Region = None
    model: Model = ModelSettings.model
    set: Set = None
    work: Work = WORK
    find_mask: FindMask = None

    def settings(self) -> dict[str, Any]:
        """Return settings for config.yaml.

        Raises:
            UserError: a ``--set`` is invalid or reserved, or a prompt is empty or no text.
        """
        require_texts(self.prompt, self.source, self.target)
        settings: dict[str, Any] = {**_DEFAULTS, "model": self.model}
        for key in ("seed", "mask_edit_region"):
            if (value := getattr(self, key)) is not None:
                settings[key] = value
        if self.find_mask is not None:
            settings["mask_source"] = self._valid_find_mask()
        chosen = parse_set(self.set)
        if "mask_source" in chosen and self.find_mask is not None:
            raise UserError("give only one of --find-mask and --set mask_source")
        settings |= chosen
        if settings.get("mask_source") in FOUND and settings.keys().isdisjoint(_METHOD):
            settings["method"] = FOUND_METHOD
        return settings

    def finding_the_place(self) -> EditOptions:
        """Return the options for a photograph without a mask: as with ``--find-mask``, if possible.

        Nothing changes without a source prompt to compare, nor where an option or a setting says
        where to edit, or that the whole picture may change.
        """
        if self.finds_place or not self.settings().keys().isdisjoint(_PLACE):
            return self
        try:
            require_comparable(self.source or "", self.prompt)
        except UserError:
            return self
        return replace(self, find_mask=FIND_MASK)

    def _valid_find_mask(self) -> str | None:
        """Return ``--find-mask``; ``UserError`` if it is unknown or nothing can be compared."""
        if self.find_mask not in FOUND:
            raise UserError(f"--find-mask: {self.find_mask!r} is not one of {', '.join(FOUND)}")
        require_comparable(self.source or "", self.prompt, "--find-mask")
        return self.find_mask

    def source_prompt(self) -> str | None:
        """Return ``--source``; if there is none, a prompt made from ``--target``."""
        return self.source or (f"a photo of a {self.target}" if self.target else self.source)

    @property
    def finds_place(self) -> bool:
        """Whether the model finds the region, from a word or from the prompts."""
        return not (self.target is None and self.find_mask is None)

    def edit(self, mask: Path | None, box: str | None = None, blend: Path | None = None) -> NewEdit:
        """Return the edit of one photograph, for the given mask, box or blend mask."""
        return NewEdit(self.prompt, mask, box, self.target, blend)


def found_place_line(what: str, settings: Mapping[Any, Any], earlier: str | None = None) -> str:
    """Return the line that a region is found although no option says so, and how to edit all.

    Args:
        what: what is edited.
        settings: settings of the edit.
        earlier: the source prompt, if it is that of an earlier edit.
    """
    source = "--source" if earlier is None else f'--source of an earlier edit ("{earlier}")'
    untrained = ", without training" if settings.get("method") == FOUND_METHOD else ""
    return (
        f"{what}: edited where {source} and --prompt differ{untrained}; if the whole picture may "
        "change (another backdrop or style), add --set mask_source=none"
    )


def log_unused_training(settings: Mapping[Any, Any]) -> None:
    """Log which settings have no effect because the edit is drawn without training."""
    if line := unused_training_line(settings):
        log.warning("%s", line)


def unused_training_line(settings: Mapping[Any, Any]) -> str | None:
    """Return which settings have no effect because the edit is drawn without training, or None."""
    method = settings.get("method", TRAINED_METHOD)
    unused = sorted(_OF_TRAINING & settings.keys())
    if method == TRAINED_METHOD or not unused:
        return None
    return (
        f"--set {', '.join(unused)}: no effect, as nothing is trained (method: {method}); to "
        f"train, add --set method={TRAINED_METHOD}"
    )


def require_texts(prompt: str, source: str | None, target: str | None) -> None:
    """Check the texts of an edit, which are written into files.

    Raises:
        UserError: a text is empty or not UTF-8; the source prompt may be empty.
    """
    if not prompt.strip():
        raise UserError("--prompt is empty; write what the edited picture shows")
    if target is not None and not target.strip():
        raise UserError("--target is empty; write one word of the source prompt")
    for option, text in (("--prompt", prompt), ("--source", source), ("--target", target)):
        try:
            (text or "").encode()
        except UnicodeEncodeError:
            raise UserError(f"{option}: is not UTF-8 text; set the terminal to UTF-8") from None


def require_at_most_one(**options: Path | str | None) -> None:
    """Refuse several of these options, each named like its parameter."""
    if sum(option is not None for option in options.values()) > 1:
        *names, last = (f"--{name.replace('_', '-')}" for name in options)
        raise UserError(f"give only one of {', '.join(names)} and {last}")


def require_file(image: Path) -> None:
    """Refuse a photograph that does not exist."""
    from editinfinity.files.input_files import require_file

    require_file(image, sys.maxsize, "give the path of a picture")
