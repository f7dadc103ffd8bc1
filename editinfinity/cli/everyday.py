"""Commands for everyday use: edit a photograph, create cases, inspect files."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from editinfinity.cases.case import Case
from editinfinity.cases.create import (
    NewEdit,
    case_name,
    command_for_case,
    make_case,
    require_creatable,
    source_prompt_of,
)
from editinfinity.cli.delivery import output_path, printable_path
from editinfinity.cli.one_edit import checked_settings, edit_one
from editinfinity.cli.options import grouped, setting_option
from editinfinity.errors import UserError
from editinfinity.files.input_files import path_on_disk
from editinfinity.method.prompt_changes import require_comparable
from editinfinity.names import printable
from editinfinity.prompts import find_word
from editinfinity.settings.groups import FOUND, ModelSettings

log = logging.getLogger(__name__)


def on_disk(path: Path | None) -> Path | None:
    """Return the path of an option as its names are spelled on the disk."""
    return None if path is None else path_on_disk(path)


Image = Annotated[Path, typer.Argument(help="The photograph.", callback=on_disk)]
Prompt = Annotated[str, typer.Option(help="Description of the edited picture.")]
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
        "drawn without training unless --set method says otherwise."
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


TRAINED_METHOD, FIRST_METHOD = "inversion", "training_free"
"""The methods with which ``edit --refine`` draws last and, unless another is set, first."""


_PLACE, _METHOD = {"mask_source", "infer_function"}, {"method", "guidance"}
"""Settings that choose where to edit, and how."""


_RESERVED = frozenset({"cases", "data", "results", "slice", "pie_bench", "overrides"})
"""Settings that these commands rely on: they describe the project folder that they create."""


def parse_set(options: Iterable[str] | None) -> dict[str, Any]:
    """Return setting → value for ``--set`` options.

    Raises:
        UserError: one is not ``KEY=VALUE``, or is reserved.
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
    return settings


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
        _require_texts(self.prompt, self.source, self.target)
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


def register(app: typer.Typer) -> None:
    """Add these commands to an app."""
    for command in (edit, new, show):
        app.command(command.__name__)(command)
    app.command("import")(import_table)


@grouped
def edit(
    *,
    image: Image,
    mask: Mask = None,
    box: Box = None,
    blend: Blend = None,
    options: EditOptions,
    output: Annotated[
        Path | None,
        typer.Option(help="Default: PHOTO_edited beside the photograph, in its format."),
    ] = None,
    refine: Annotated[
        bool,
        typer.Option(
            "--refine",
            help="Write a first picture in seconds, drawn without training; then train, and "
            "replace it. Ctrl-C keeps the first.",
        ),
    ] = False,
) -> None:
    """Edit a photograph.

        editinfinity edit photo.jpg --mask mask.png --prompt "a blue cup"

        editinfinity edit photo.jpg --target cup --prompt "a blue cup"

        editinfinity edit photo.jpg --source "a red cup" --prompt "a blue cup"

    With a mask, box, blend or target, the model is trained on the photograph once; another prompt
    or seed then takes seconds. Without one, the region is found by comparing --source and --prompt,
    and drawn without training (--find-mask both). Without --source, or with --set mask_source=none,
    the whole picture may change.
    """
    require_at_most_one(
        mask=mask, box=box, blend=blend, target=options.target, find_mask=options.find_mask
    )
    require_file(image)
    name = case_name(image)
    if options.source is None and options.target is None:
        case = options.work / name / "data" / name
        options = replace(options, source=source_prompt_of(case))  # of an earlier edit
    asked = options
    if mask is None and box is None and blend is None:
        options = asked.finding_the_place()
    settings = options.settings()
    target_output = output_path(image, output, (mask, blend))
    source = options.source_prompt()
    if options.target is not None:
        find_word(source or "", options.target, "--target")
    checked_settings(settings)
    first = _first_drawing(settings) if refine else None
    if refine:
        settings["method"] = TRAINED_METHOD
    edit_one(
        image,
        options.edit(mask, box, blend),
        source,
        settings,
        options.work,
        target_output,
        overwrite=output is not None,
        first=first,
        notice=None if options is asked else found_place_line(printable(str(image)), settings),
    )


def found_place_line(what: str, settings: Mapping[Any, Any]) -> str:
    """Return the line that a region is found although no option says so, and how to edit all.

    Args:
        what: what is edited.
        settings: settings of the edit.
    """
    untrained = ", without training" if settings.get("method") == FOUND_METHOD else ""
    return (
        f"{what}: edited where --source and --prompt differ{untrained}; if the whole picture may "
        "change (another backdrop or style), add --set mask_source=none"
    )


def _first_drawing(settings: dict[Any, Any]) -> dict[Any, Any]:
    """Return the settings of the picture that ``--refine`` draws before anything is trained."""
    chosen = settings.get("method", TRAINED_METHOD)
    method = FIRST_METHOD if chosen == TRAINED_METHOD else chosen
    # The names of variants differ without training, so none that is set by name exists.
    first = {**settings, "method": method, "select": "first"}
    checked_settings(first)
    return first


def new(
    case: Annotated[str, typer.Argument(help="Name of the case.")],
    image: Image,
    prompt: Prompt,
    source: Source = None,
    mask: Mask = None,
    box: Box = None,
    blend: Blend = None,
    target: Target = None,
    name: Annotated[str, typer.Option(help="Name of the edit.")] = "edit",
    data: Annotated[Path, typer.Option(help="Folder of the cases.")] = Path("data"),
) -> None:
    """Create a case of the workflow, or add an edit (--name) to one.

    editinfinity new holiday photo.jpg --mask mask.png --prompt "a boat"

    An existing edit keeps its mask, blend mask or target word if none is given.

    editinfinity run --config cases=[holiday]
    """
    from editinfinity.files.camera_raw import refuse_camera_files
    from editinfinity.files.formats import load_plugin
    from editinfinity.names import why_unusable
    from editinfinity.planning.in_use import locked_for_change, paths_of_case

    require_at_most_one(mask=mask, box=box, blend=blend, target=target)
    _require_texts(prompt, source, target)
    require_file(image)
    refuse_camera_files(image)  # a case gets a copy that is not opened here
    load_plugin(image)
    if reason := why_unusable(case):
        raise UserError(f"{case!r} cannot be the name of a case: {reason}")
    folder = path_on_disk(data / case)
    with locked_for_change(paths_of_case(folder)):
        make_case(folder, image, source, {name: NewEdit(prompt, mask, box, target, blend)})
    typer.echo(f"{printable_path(folder)}: run it with: {command_for_case(folder.name, data)}")


def import_table(
    table: Annotated[Path, typer.Argument(help="Tab-separated table; columns as in cases.tsv.")],
    data: Annotated[Path, typer.Option(help="Folder of the cases.")] = Path("data"),
) -> None:
    """Create cases from a table: case, image, edit_prompt, mask, source_prompt, edit, …."""
    from editinfinity.cases.table import read_table
    from editinfinity.config.load import load_config
    from editinfinity.planning.in_use import locked_for_change, paths_of_case

    config = load_config({}, source=str(table))
    notices: list[str] = []
    cases = read_table(table, config, notices)
    for line in notices:
        log.warning("%s", line)
    dropped = {
        key
        for case in cases.values()
        for edit in case.edits.values()
        for key, value in edit.settings.items()
        if value != config.settings[key]
    }
    folders = {name: path_on_disk(data / name) for name in cases}
    with locked_for_change(path for folder in folders.values() for path in paths_of_case(folder)):
        for name, case in cases.items():
            require_creatable(folders[name], case.image, _edits_of(case))
        if dropped:
            keys = ", ".join(sorted(dropped))
            log.warning("%s: cases cannot store %s; use overrides of config.yaml", table, keys)
        for name, case in cases.items():
            source = None if case.source_prompt is None else str(case.source_prompt)
            make_case(folders[name], case.image, source, _edits_of(case))
            typer.echo(printable_path(folders[name]))


def _edits_of(case: Case) -> dict[str, NewEdit]:
    """Convert the edits of a case read from a table: edit name → edit to create."""
    return {
        edit.name: NewEdit(
            str(edit.prompt),
            edit.mask,
            None,
            None if edit.target_word is None else str(edit.target_word),
            edit.blend,
        )
        for edit in case.edits.values()
    }


def show(
    path: Annotated[Path, typer.Argument(help="A picture made by editinfinity.")],
) -> None:
    """Print the settings that a picture was made with."""
    from editinfinity.files.writing import read_settings

    settings = read_settings(path)
    if settings is None:
        raise UserError(f"{path}: contains no settings of editinfinity")
    with contextlib.suppress(ValueError):  # text that is not JSON is printed unchanged
        settings = json.dumps(json.loads(settings), indent=2, ensure_ascii=False, sort_keys=True)
    typer.echo(settings)


def _require_texts(prompt: str, source: str | None, target: str | None) -> None:
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
