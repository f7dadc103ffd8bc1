"""Commands for everyday use: edit a photograph, and show what a picture was made with."""

from __future__ import annotations

import json
import logging
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from editinfinity.cases.create import case_name, source_prompt_of
from editinfinity.cli.delivery import output_path
from editinfinity.cli.edit_options import (
    TRAINED_METHOD,
    Blend,
    Box,
    EditOptions,
    Image,
    Mask,
    found_place_line,
    require_at_most_one,
    require_file,
    unused_training_line,
)
from editinfinity.cli.one_edit import checked_settings, edit_one
from editinfinity.cli.options import grouped
from editinfinity.cli.streams import STANDARD, AsJson, picture_or_standard_input, print_json
from editinfinity.errors import UserError
from editinfinity.names import printable
from editinfinity.prompts import find_word

log = logging.getLogger(__name__)

FIRST_METHOD = "training_free"
"""The method with which ``edit --refine`` draws first, unless another is set."""


def register(app: typer.Typer) -> None:
    """Add these commands to an app."""
    for command in (edit, show):
        app.command(command.__name__)(command)


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
        typer.Option(
            help="Default: PHOTO_edited beside the photograph, in its format; - is standard output."
        ),
    ] = None,
    refine: Annotated[
        bool,
        typer.Option(
            "--refine",
            help="Write a first picture in seconds, drawn without training; then train, and "
            "replace it. Ctrl-C keeps the first.",
        ),
    ] = False,
    keep_warm: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="MINUTES",
            envvar="EDITINFINITY_KEEP_WARM",
            show_envvar=True,
            help="Keep model and Snakemake loaded for so long after the edit, for a faster next "
            "one; 0: not. Default: 5 in a terminal, else 0. End it with: editinfinity stop.",
        ),
    ] = None,
    no_keep_warm: Annotated[
        bool, typer.Option("--no-keep-warm", help="The same as --keep-warm 0.")
    ] = False,
) -> None:
    """Edit a photograph.

        editinfinity edit photo.jpg --mask mask.png --prompt "a blue cup"

        editinfinity edit photo.jpg --target cup --prompt "a blue cup"

        editinfinity edit photo.jpg --source "a red cup" --prompt "a blue cup"

    With a mask, box, blend or target, the model is trained on the photograph once; another prompt
    or seed then takes seconds. Without one, the region is found by comparing --source and --prompt,
    and drawn without training (--find-mask both). With --set mask_source=none, or if neither this
    nor an earlier edit of the photograph has a --source, the whole picture may change.

    The photograph or the mask may be -, a picture on standard input. The edit of a photograph on
    standard input goes to standard output, unless --output is given.
    """
    from editinfinity.cli.warm import keep_warm_for

    require_at_most_one(
        mask=mask, box=box, blend=blend, target=options.target, find_mask=options.find_mask
    )
    if output is None and image == STANDARD:
        output = STANDARD
    if refine and output == STANDARD:
        raise UserError("--refine: writes two pictures, so it needs --output FILE")
    image = picture_or_standard_input(image, options.work / "stdin")
    mask = mask and picture_or_standard_input(mask, options.work / "stdin")
    require_file(image)
    name = case_name(image)
    given = options.source
    asked = options = _with_earlier_source(options, options.work / name / "data" / name, image)
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
    notices = []
    if options is not asked:
        earlier = source if given is None else None
        notices.append(found_place_line(printable(str(image)), settings, earlier))
    if unused := unused_training_line(settings):
        notices.append(unused)
    edit_one(
        image,
        options.edit(mask, box, blend),
        source,
        settings,
        options.work,
        target_output,
        overwrite=output is not None,
        first=first,
        notices=notices,
        keep=keep_warm_for(0 if no_keep_warm else keep_warm, str(settings["model"])),
    )


def _with_earlier_source(options: EditOptions, case: Path, image: Path) -> EditOptions:
    """Return the options with the source prompt of an earlier edit, if there is none of this one.

    The source prompt that is made from ``--target`` replaces one that does not contain the word.
    """
    earlier = source_prompt_of(case)
    if options.source is not None or not earlier:
        return options
    if options.target is not None:
        try:
            find_word(earlier, options.target)
        except UserError:
            log.info(
                '%s: described as "%s", as "%s" does not contain the target; --source describes it '
                "in your words",
                image, options.source_prompt(), earlier,
            )  # fmt: skip
            return options
    return replace(options, source=earlier)


def _first_drawing(settings: dict[Any, Any]) -> dict[Any, Any]:
    """Return the settings of the picture that ``--refine`` draws before anything is trained."""
    chosen = settings.get("method", TRAINED_METHOD)
    method = FIRST_METHOD if chosen == TRAINED_METHOD else chosen
    # The names of variants differ without training, so none that is set by name exists.
    first = {**settings, "method": method, "select": "first"}
    checked_settings(first)
    return first


def show(
    path: Annotated[
        Path,
        typer.Argument(help="A picture made by editinfinity; - reads it from standard input."),
    ],
    as_json: AsJson = False,
) -> None:
    """Print the settings that a picture was made with."""
    from editinfinity.files.writing import read_settings

    with tempfile.TemporaryDirectory() as folder:
        settings = read_settings(picture_or_standard_input(path, Path(folder)))
    if settings is None:
        raise UserError(f"{path}: contains no settings of editinfinity")
    try:
        parsed = json.loads(settings)
    except (ValueError, RecursionError):
        parsed = None
    if as_json:
        with suppress(ValueError):  # Python reads infinite numbers, which are no JSON
            if isinstance(parsed, dict):
                print_json({"picture": str(path), "settings": parsed})
                return
        raise UserError(f"{path}: its settings are not JSON; show them without --json")
    if parsed is not None:  # else, text that is not JSON
        settings = json.dumps(parsed, indent=2, ensure_ascii=False, sort_keys=True)
    # It may come from anybody, and control characters would control the terminal.
    typer.echo("\n".join(map(printable, settings.split("\n"))))
