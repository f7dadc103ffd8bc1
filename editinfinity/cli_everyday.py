"""Commands for everyday use: edit a photograph in one line, a folder, make cases, look at files."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from editinfinity.errors import UserError
from editinfinity.prompts import find_word

log = logging.getLogger(__name__)

Image = Annotated[Path, typer.Argument(help="The photograph.")]
Prompt = Annotated[str, typer.Option(help="What the edited picture shows.")]
Source = Annotated[Optional[str], typer.Option(help="What the photograph shows.")]  # noqa: UP045
Mask = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(help="Where to edit: a picture (black), polygons (.json) or a box (.txt)."),
]
Box = Annotated[Optional[str], typer.Option(help="Where to edit: x,y,width,height.")]  # noqa: UP045
Target = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(help="What to edit, a word; instead of a mask."),
]
Region = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(help="Part of the mask that is edited: black, white, transparent or opaque."),
]
Model = Annotated[str, typer.Option(help="bundled, infinity_2b or infinity_8b.")]
Setting = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--set", help="A setting of config.yaml, KEY=VALUE; may be given often."),
]
Work = Annotated[Path, typer.Option(help="Where what is learned is kept between edits.")]
Seed = Annotated[Optional[int], typer.Option(help="Another seed, another picture.")]  # noqa: UP045


_PICTURES_ONLY = {"crop": "auto", "metrics": 0}
"""Settings where somebody wants a picture: at full detail, and without numbers about it."""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (edit, batch, new, preview, show):
        app.command(command.__name__)(command)
    app.command("import")(import_table)


def edit(
    image: Image,
    prompt: Prompt,
    mask: Mask = None,
    box: Box = None,
    target: Target = None,
    source: Source = None,
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Default: PHOTO_edited beside the photograph, in its format."),
    ] = None,
    seed: Seed = None,
    mask_edit_region: Region = None,
    model: Model = "bundled",
    settings: Setting = None,
    work: Work = Path(".editinfinity"),
) -> None:
    r"""Edit a photograph.

    \b
        editinfinity edit photo.jpg --mask mask.png --prompt "a blue cup on a table"
        editinfinity edit photo.jpg --target cup --source "a red cup on a table" \
            --prompt "a blue cup on a table"

    The photograph is learned once; another prompt, mask or seed then takes seconds. Without mask,
    box or target the whole picture may change.
    """
    from editinfinity.workflow.new_case import NewEdit, case_name, make_case
    from editinfinity.workflow.progress import run_workflow

    if sum(place is not None for place in (mask, box, target)) > 1:
        raise UserError("give only one of --mask, --box and --target")
    _require(image)
    target_output = _output_of(image, output)
    if target is not None:
        source = source or f"a photo of a {target}"
        find_word(source, target, "--target")
    chosen = _settings(settings, model, seed, mask_edit_region)
    name = case_name(image)
    project = work / name
    make_case(
        project / "data" / name,
        image,
        source,
        {"edit": NewEdit(prompt, mask, box, target)},
    )
    failed = run_workflow(project, {**_PICTURES_ONLY, **chosen, "cases": [name]})
    if failed:
        raise UserError(_readable(failed[name][0], name, image))
    made = _deliver(
        project / "results" / name / "edit.png", image, target_output, output is not None
    )
    typer.echo(made)


def batch(
    folder: Annotated[Path, typer.Argument(help="Folder of photographs.")],
    prompt: Prompt,
    source: Source = None,
    target: Target = None,
    masks: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Folder of masks, each named like its photograph."),
    ] = None,
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Folder for the results; default: FOLDER_edited."),
    ] = None,
    seed: Seed = None,
    mask_edit_region: Region = None,
    model: Model = "bundled",
    settings: Setting = None,
    work: Work = Path(".editinfinity"),
) -> None:
    r"""Edit every photograph of a folder; one that cannot be edited does not stop the others.

    \b
        editinfinity batch photos --prompt "a watercolour of a town"
    """
    from editinfinity.workflow.folders import IMAGE_ENDINGS, MASK_ENDINGS
    from editinfinity.workflow.new_case import NewEdit, case_name, make_case
    from editinfinity.workflow.progress import run_workflow

    if not folder.is_dir():
        raise UserError(f"{folder}: is no folder; give the one with the photographs")
    images = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_ENDINGS)
    if not images:
        raise UserError(f"{folder}: holds no photograph ({', '.join(IMAGE_ENDINGS)})")
    place = hashlib.sha256(str(folder.absolute()).encode()).hexdigest()[:8]
    project = work / f"batch-{place}"
    names = {}
    for image in images:
        candidates = [] if masks is None else [masks / f"{image.stem}{e}" for e in MASK_ENDINGS]
        mask = next((path for path in candidates if path.is_file()), None)
        if masks is not None and mask is None:
            log.warning("%s: has no mask in %s; it is left out", image, masks)
            continue
        names[case_name(image)] = image
        words = source or (f"a photo of a {target}" if target else "")
        edits = {"edit": NewEdit(prompt, mask, None, target)}
        make_case(project / "data" / case_name(image), image, words, edits)
    if not names:
        raise UserError(f"{masks}: holds no mask named like a photograph of {folder}")
    chosen = _settings(settings, model, seed, mask_edit_region)
    failed = run_workflow(project, {**_PICTURES_ONLY, **chosen, "cases": list(names)})
    results = output or folder.with_name(f"{folder.name}_edited")
    for name, image in names.items():
        picture = project / "results" / name / "edit.png"
        if name in failed:
            log.error("%s", _readable(failed[name][0], name, image))
        elif picture.exists():
            typer.echo(_deliver(picture, image, results / f"{image.stem}{_ending(image)}", True))
    if failed:
        raise UserError(f"{len(failed)} of {len(names)} photographs could not be edited")


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
    r"""Make a case of the workflow, or add an edit (--name) to one.

    \b
        editinfinity new holiday photo.jpg --mask mask.png --prompt "a blue boat"
        editinfinity run --config cases=[holiday]
    """
    from editinfinity.workflow.names import unfit
    from editinfinity.workflow.new_case import NewEdit, make_case

    _require(image)
    if reason := unfit(case):
        raise UserError(f"{case!r} cannot be a name: {reason}")
    make_case(data / case, image, source, {name: NewEdit(prompt, mask, box, target)})
    typer.echo(f"{data / case}: run it with: editinfinity run --config cases=[{case}]")


def import_table(
    table: Annotated[Path, typer.Argument(help="Tab-separated; columns as of cases.tsv.")],
    data: Annotated[Path, typer.Option(help="Folder of the cases.")] = Path("data"),
) -> None:
    """Make cases of the rows of a table: case, image, edit_prompt, mask, source_prompt, edit, …."""
    from editinfinity.workflow.config import load_config
    from editinfinity.workflow.new_case import NewEdit, make_case
    from editinfinity.workflow.table import read_table

    cases = read_table(table, load_config({}, source=str(table)))
    for name, case in cases.items():
        edits = {
            edit.name: NewEdit(
                str(edit.prompt),
                edit.mask,
                None,
                None if edit.target_word is None else str(edit.target_word),
            )
            for edit in case.edits.values()
        }
        source = None if case.source_prompt is None else str(case.source_prompt)
        make_case(data / name, case.image, source, edits)
        typer.echo(data / name)


def preview(
    image: Image,
    mask: Mask = None,
    box: Box = None,
    mask_edit_region: Region = None,
    mask_grow: Annotated[int, typer.Option(min=0, help="Pixels to make it larger by.")] = 0,
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Default: PHOTO_preview.png beside the photograph."),
    ] = None,
) -> None:
    """Show what a mask marks, in red, and the part that is learned from (crop: auto), framed."""
    from editinfinity.files.cropping import crop_around
    from editinfinity.files.images import read_image, size_of, write_png
    from editinfinity.files.masks import mask_of_box, read_mask
    from editinfinity.files.preview import mask_preview

    if (mask is None) == (box is None):
        raise UserError("give either --mask or --box")
    picture = read_image(image)
    size, region = size_of(picture), mask_edit_region or "black"
    if mask is not None:
        edited = read_mask(mask, size, region, mask_grow)
    else:
        edited = mask_of_box(str(box), size, "--box", mask_grow)
    target = output or image.with_name(f"{image.stem}_preview.png")
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


def _require(image: Path) -> None:
    if not image.is_file():
        raise UserError(f"{image}: there is no such file; give the path of a picture")


def _settings(
    given: Iterable[str] | None, model: str, seed: int | None, region: str | None
) -> dict[str, Any]:
    """Settings of config.yaml from the command line."""
    import yaml

    chosen: dict[str, Any] = {"model": model}
    if seed is not None:
        chosen["seed"] = seed
    if region is not None:
        chosen["mask_edit_region"] = region
    for text in given or ():
        key, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"--set: {text!r} is not KEY=VALUE, e.g. train_lora_iter=30")
        try:
            chosen[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise UserError(f"--set: {text!r}: the value cannot be read") from None
    return chosen


def _ending(image: Path) -> str:
    """Of the result: the photograph's, where that can be written."""
    from editinfinity.files.writing import FORMATS

    return image.suffix if image.suffix.lower() in FORMATS else ".png"


def _output_of(image: Path, output: Path | None) -> Path:
    from editinfinity.files.writing import FORMATS

    if output is None:
        return image.with_name(f"{image.stem}_edited{_ending(image)}")
    if output.suffix.lower() not in FORMATS:
        raise UserError(f"--output: {output}: choose one of the endings {', '.join(FORMATS)}")
    return output


def _deliver(picture: Path, image: Path, target: Path, overwrite: bool) -> Path:
    """Write a result in the format of its name; another edit's is not overwritten unasked."""
    from editinfinity.files.photograph import read_photograph
    from editinfinity.files.writing import read_settings, write_photograph

    settings, number = read_settings(picture), 1
    free = target
    while not overwrite and free.exists() and read_settings(free) != settings:
        number += 1
        free = target.with_name(f"{target.stem}_{number}{target.suffix}")
    write_photograph(free, read_photograph(picture), settings, like=image)
    return free


def _readable(fault: str, name: str, image: Path) -> str:
    """A fault of a case that was made here, told of the user's own file."""
    ours = rf"data/{re.escape(name)}/image/original_image\.\w+"
    return re.sub(ours, lambda _: str(image), fault.removeprefix(f"case {name}: "))
