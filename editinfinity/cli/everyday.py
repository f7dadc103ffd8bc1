"""Commands for everyday use: edit a photograph in one line, a folder, make cases, look at files."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from editinfinity.cases.case import Case
from editinfinity.cases.create import NewEdit, case_name, make_case, require_creatable
from editinfinity.cli.delivery import (
    PhotographResult,
    deliver,
    ending_for,
    in_users_terms,
    log_warnings,
    output_of,
    print_results,
)
from editinfinity.cli.options import grouped, setting_option
from editinfinity.errors import UserError
from editinfinity.prompts import find_word
from editinfinity.settings.groups import MaskSettings, ModelSettings

log = logging.getLogger(__name__)

Image = Annotated[Path, typer.Argument(help="The photograph.")]
Prompt = Annotated[str, typer.Option(help="What the edited picture shows.")]
Source = Annotated[str | None, typer.Option(help="What the photograph shows.")]
Mask = Annotated[
    Path | None,
    typer.Option(help="Where to edit: a picture (black), polygons (.json) or a box (.txt)."),
]
Box = Annotated[str | None, typer.Option(help="Where to edit: x,y,width,height.")]
Target = Annotated[
    str | None,
    typer.Option(help="What to edit, a word; instead of a mask."),
]
Region = Annotated[str | None, setting_option("mask_edit_region")]


_PICTURES_ONLY = {"crop": "auto", "metrics": 0}
"""Settings where somebody wants a picture: at full detail, and without numbers about it."""


_DECIDED_HERE = frozenset({"cases", "data", "results", "slice", "pie_bench", "overrides"})
"""Settings of the folder that these commands make for themselves, and read their results from."""


@dataclass(frozen=True)
class EditOptions:
    """Options of the commands that edit, one photograph or many."""

    prompt: Prompt
    source: Source = None
    target: Target = None
    seed: Annotated[int | None, setting_option("seed")] = None
    mask_edit_region: Region = None
    model: Annotated[str, setting_option("model")] = ModelSettings.model
    set: Annotated[
        list[str] | None,
        typer.Option(help="A setting of config.yaml, KEY=VALUE; may be given often."),
    ] = None
    work: Annotated[Path, typer.Option(help="Where what is learned is kept between edits.")] = Path(
        ".editinfinity"
    )

    def settings(self) -> dict[str, Any]:
        """Settings of config.yaml from the command line."""
        import yaml

        chosen: dict[str, Any] = {**_PICTURES_ONLY, "model": self.model}
        for key in ("seed", "mask_edit_region"):
            if (value := getattr(self, key)) is not None:
                chosen[key] = value
        for text in self.set or ():
            key, equals, value = text.partition("=")
            if not equals:
                raise UserError(f"--set: {text!r} is not KEY=VALUE, e.g. train_lora_iter=30")
            if key.strip() in _DECIDED_HERE:
                raise UserError(f"--set: {key.strip()} is decided by this command; leave it out")
            try:
                chosen[key.strip()] = yaml.safe_load(value)
            except yaml.YAMLError:
                raise UserError(f"--set: {text!r}: the value cannot be read") from None
        return chosen

    def source_prompt(self) -> str | None:
        """What the photograph shows; where only a word of it was given, that."""
        return self.source or (f"a photo of a {self.target}" if self.target else self.source)

    def edit(self, mask: Path | None, box: str | None = None) -> NewEdit:
        """The edit of a photograph that has this mask."""
        return NewEdit(self.prompt, mask, box, self.target)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (edit, batch, new, preview, show):
        app.command(command.__name__)(command)
    app.command("import")(import_table)


@grouped
def edit(
    *,
    image: Image,
    mask: Mask = None,
    box: Box = None,
    wish: EditOptions,
    output: Annotated[
        Path | None,
        typer.Option(help="Default: PHOTO_edited beside the photograph, in its format."),
    ] = None,
) -> None:
    """Edit a photograph.

        editinfinity edit photo.jpg --mask mask.png --prompt "a blue cup"

        editinfinity edit photo.jpg --target cup --prompt "a blue cup"

    The photograph is learned once; another prompt, mask or seed then takes seconds. Without mask,
    box or target the whole picture may change.
    """
    from editinfinity.cli.progress import alone, run_workflow
    from editinfinity.planning.in_use import locked_for_change, paths_of_output

    _require_one_place(mask, box, wish.target)
    _require(image)
    target_output = output_of(image, output, mask)
    source = wish.source_prompt()
    if wish.target is not None:
        find_word(source or "", wish.target, "--target")
    name = case_name(image)
    settings = {**wish.settings(), "cases": [name]}
    smoothings = _smoothings(settings)
    project = wish.work / name
    case, edits = project / "data" / name, {"edit": wish.edit(mask, box)}
    require_creatable(case, image, edits, overwrite=True)
    place = "--box" if box is not None else None if mask is None else str(mask)
    with locked_for_change(paths_of_output(output) if output else []), alone(project) as lock:
        make_case(case, image, source, edits, overwrite=True)
        ran = run_workflow(project, settings, lock)
        if ran.failed:
            raise UserError(in_users_terms(ran.failed[name][0], name, image, place))
        log_warnings(project, name, image, place, smoothings if place or wish.target else ())
        picture = project / "results" / name / "edit.png"
        made = deliver(picture, image, target_output, output is not None)
        print_results([PhotographResult(image, "edited", ran.seconds(name), str(made))])


def _smoothings(settings: dict[Any, Any]) -> tuple[str, ...]:
    """Of the kernels that settings ask for, which are looked at before anything is written.

    Raises:
        UserError: a setting is not valid.
    """
    from editinfinity.config.load import load_config

    found: Any = load_config(settings, source="settings").settings["smoothing"]
    return tuple(found)


@grouped
def batch(
    *,
    folder: Annotated[Path, typer.Argument(help="Folder of photographs.")],
    wish: EditOptions,
    masks: Annotated[
        Path | None,
        typer.Option(help="Folder of masks, each named like its photograph."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder for the results; default: FOLDER_edited."),
    ] = None,
) -> None:
    """Edit every photograph of a folder; one that cannot be edited does not stop the others.

    editinfinity batch photos --prompt "a watercolour of a town"
    """
    from editinfinity.cli.progress import alone, run_workflow

    photographs, left_out = _photographs_in(folder, masks)
    results = output or folder.with_name(f"{folder.name}_edited")
    if results.resolve() == folder.resolve():
        raise UserError("--output: is the folder of the photographs themselves; choose another")
    settings = {**wish.settings(), "cases": list(photographs)}
    smoothings = _smoothings(settings)
    place = hashlib.sha256(str(folder.absolute()).encode()).hexdigest()[:8]
    project = wish.work / f"batch-{place}"
    for name, (image, mask) in photographs.items():
        require_creatable(project / "data" / name, image, {"edit": wish.edit(mask)}, overwrite=True)
    told = []
    with alone(project) as lock:
        for image in left_out:
            log.warning("%s: has no mask in %s; it is left out", image, masks)
        for name, (image, mask) in photographs.items():
            edits = {"edit": wish.edit(mask)}
            words = wish.source_prompt() or ""
            make_case(project / "data" / name, image, words, edits, overwrite=True)
        ran = run_workflow(project, settings, lock)
        for name, (image, mask) in photographs.items():
            picture = project / "results" / name / "edit.png"
            marked = None if mask is None else str(mask)
            log_warnings(project, name, image, marked, smoothings if marked or wish.target else ())
            if name in ran.failed:
                reason = in_users_terms(ran.failed[name][0], name, image, marked)
                told.append(PhotographResult(image, "failed", ran.seconds(name), reason))
            elif picture.exists():
                made = deliver(picture, image, results / f"{image.stem}{ending_for(image)}", False)
                told.append(PhotographResult(image, "edited", ran.seconds(name), str(made)))
    print_results(told)
    if ran.failed:
        raise UserError(f"{len(ran.failed)} of {len(photographs)} photographs could not be edited")


def _photographs_in(
    folder: Path, masks: Path | None
) -> tuple[dict[str, tuple[Path, Path | None]], list[Path]]:
    """(case → (photograph, its mask), photographs that lack one where all are to have one).

    Raises:
        UserError: there are none.
    """
    from editinfinity.cases.folders import IMAGE_ENDINGS, MASK_ENDINGS

    if not folder.is_dir():
        raise UserError(f"{folder}: is no folder; give the one with the photographs")
    images = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_ENDINGS)
    if not images:
        raise UserError(f"{folder}: holds no photograph ({', '.join(IMAGE_ENDINGS)})")
    found, left_out = dict[str, tuple[Path, Path | None]](), []
    for image in images:
        candidates = [] if masks is None else [masks / f"{image.stem}{e}" for e in MASK_ENDINGS]
        mask = next((path for path in candidates if path.is_file()), None)
        if masks is None or mask is not None:
            found[case_name(image)] = image, mask
        else:
            left_out.append(image)
    if not found:
        raise UserError(f"{masks}: holds no mask named like a photograph of {folder}")
    return found, left_out


def new(
    case: Annotated[str, typer.Argument(help="The case's name.")],
    image: Image,
    prompt: Prompt,
    source: Source = None,
    mask: Mask = None,
    box: Box = None,
    target: Target = None,
    name: Annotated[str, typer.Option(help="Name of the edit.")] = "edit",
    data: Annotated[Path, typer.Option(help="Folder of the cases.")] = Path("data"),
) -> None:
    """Make a case of the workflow, or add an edit (--name) to one.

    editinfinity new holiday photo.jpg --mask mask.png --prompt "a boat"

    An edit that is there keeps its mask or word where none is given.

    editinfinity run --config cases=[holiday]
    """
    from editinfinity.files.camera_raw import refuse_camera_files
    from editinfinity.names import why_unusable
    from editinfinity.planning.in_use import locked_for_change, paths_of_case

    _require_one_place(mask, box, target)
    _require(image)
    refuse_camera_files(image)  # a case takes a copy, unopened
    if reason := why_unusable(case):
        raise UserError(f"{case!r} cannot be a name: {reason}")
    with locked_for_change(paths_of_case(data / case)):
        make_case(data / case, image, source, {name: NewEdit(prompt, mask, box, target)})
    typer.echo(f"{data / case}: run it with: editinfinity run --config cases=[{case}]")


def import_table(
    table: Annotated[Path, typer.Argument(help="Tab-separated; columns as of cases.tsv.")],
    data: Annotated[Path, typer.Option(help="Folder of the cases.")] = Path("data"),
) -> None:
    """Make cases of the rows of a table: case, image, edit_prompt, mask, source_prompt, edit, …."""
    from editinfinity.cases.table import read_table
    from editinfinity.config.load import load_config
    from editinfinity.planning.in_use import locked_for_change, paths_of_case

    config = load_config({}, source=str(table))
    notices: list[str] = []
    cases = read_table(table, config, notices)
    for line in notices:
        log.warning("%s", line)
    lost = {
        key
        for case in cases.values()
        for edit in case.edits.values()
        for key, value in edit.settings.items()
        if value != config.settings[key]
    }
    with locked_for_change(path for name in cases for path in paths_of_case(data / name)):
        for name, case in cases.items():
            require_creatable(data / name, case.image, _edits_of(case))
        if lost:
            said = f"folders hold no {', '.join(sorted(lost))}"
            log.warning("%s: %s; set it in config.yaml, below overrides", table, said)
        for name, case in cases.items():
            source = None if case.source_prompt is None else str(case.source_prompt)
            make_case(data / name, case.image, source, _edits_of(case))
            typer.echo(data / name)


def _edits_of(case: Case) -> dict[str, NewEdit]:
    """Those of a table's case, to be made in a folder."""
    return {
        edit.name: NewEdit(
            str(edit.prompt),
            edit.mask,
            None,
            None if edit.target_word is None else str(edit.target_word),
        )
        for edit in case.edits.values()
    }


def preview(
    image: Image,
    mask: Mask = None,
    box: Box = None,
    mask_edit_region: Region = None,
    mask_grow: Annotated[int, setting_option("mask_grow")] = MaskSettings.mask_grow,
    output: Annotated[
        Path | None,
        typer.Option(help="Default: PHOTO_preview.png beside the photograph."),
    ] = None,
) -> None:
    """Show what a mask marks, in red, and the part that is learned from (crop: auto), framed."""
    from editinfinity.files.cropping import crop_around
    from editinfinity.files.images import read_image, size_of, write_png
    from editinfinity.files.masks import mask_of_box, read_mask
    from editinfinity.files.preview import mask_preview
    from editinfinity.planning.in_use import locked_for_change, paths_of_output

    if (mask is None) == (box is None):
        raise UserError("give either --mask or --box")
    picture = read_image(image)
    size = size_of(picture)
    by = MaskSettings(mask_edit_region or MaskSettings.mask_edit_region, mask_grow)
    if mask is not None:
        edited = read_mask(mask, size, by.mask_edit_region, by.mask_grow, image)
    else:
        edited = mask_of_box(str(box), size, "--box", by.mask_grow)
    target = output or image.with_name(f"{image.stem}_preview.png")
    if target.suffix.lower() != ".png":
        raise UserError(f"--output: {target}: choose the ending .png")
    if target.resolve() in {path.resolve() for path in (image, mask) if path is not None}:
        raise UserError(f"--output: {target}: is what the preview is made of; choose another")
    with locked_for_change(paths_of_output(target)):
        write_png(target, mask_preview(picture, edited, crop_around([edited], "1M")))
    typer.echo(f"{target}: {edited.mean():.1%} of the photograph is edited")


def show(
    path: Annotated[Path, typer.Argument(help="A picture made by editinfinity.")],
) -> None:
    """Tell the settings that a picture was made with."""
    from editinfinity.files.writing import read_settings

    settings = read_settings(path)
    if settings is None:
        raise UserError(f"{path}: carries no settings of editinfinity")
    with contextlib.suppress(ValueError):  # somebody else's text is shown as it is
        settings = json.dumps(json.loads(settings), indent=2, ensure_ascii=False, sort_keys=True)
    typer.echo(settings)


def _require_one_place(mask: Path | None, box: str | None, target: str | None) -> None:
    if sum(place is not None for place in (mask, box, target)) > 1:
        raise UserError("give only one of --mask, --box and --target")


def _require(image: Path) -> None:
    if not image.is_file():
        raise UserError(f"{image}: there is no such file; give the path of a picture")
