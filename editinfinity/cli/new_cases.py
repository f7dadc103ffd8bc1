"""Commands that create cases of the workflow: ``new`` and ``import``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from editinfinity.cases.case import Case
from editinfinity.cases.create import NewEdit, command_for_case, make_case, require_creatable
from editinfinity.cli.delivery import printable_path
from editinfinity.cli.edit_options import (
    Blend,
    Box,
    Image,
    Mask,
    Prompt,
    Source,
    Target,
    require_at_most_one,
    require_file,
    require_texts,
)
from editinfinity.cli.streams import STANDARD, tell, text_on_standard_input
from editinfinity.errors import UserError
from editinfinity.files.input_files import path_on_disk

log = logging.getLogger(__name__)


def register(app: typer.Typer) -> None:
    """Add these commands to an app."""
    app.command("new")(new)
    app.command("import")(import_table)


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
    require_texts(prompt, source, target)
    require_file(image)
    refuse_camera_files(image)  # a case gets a copy that is not opened here
    load_plugin(image)
    if reason := why_unusable(case):
        raise UserError(f"{case!r} cannot be the name of a case: {reason}")
    folder = path_on_disk(data / case)
    with locked_for_change(paths_of_case(folder)):
        make_case(folder, image, source, {name: NewEdit(prompt, mask, box, target, blend)})
    tell(f"{printable_path(folder)}: run it with: {command_for_case(folder.name, data)}")


def import_table(
    table: Annotated[
        Path,
        typer.Argument(
            help="Tab-separated table, columns as in cases.tsv; - reads it from standard input."
        ),
    ],
    data: Annotated[Path, typer.Option(help="Folder of the cases.")] = Path("data"),
) -> None:
    """Create cases from a table: case, image, edit_prompt, mask, source_prompt, edit, …."""
    from editinfinity.cases.table import MAX_BYTES, read_table
    from editinfinity.config.load import load_config
    from editinfinity.planning.in_use import locked_for_change, paths_of_case

    config = load_config({}, source=str(table))
    notices: list[str] = []
    text = text_on_standard_input(MAX_BYTES) if table == STANDARD else None
    cases = read_table(table, config, notices, text)
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
            tell(printable_path(folders[name]))


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
