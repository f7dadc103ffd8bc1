"""Commands for everyday use: edit a photograph or a folder, create cases, inspect files."""

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
    extension_for,
    log_warnings,
    output_path,
    print_results,
    with_user_paths,
)
from editinfinity.cli.options import grouped, setting_option
from editinfinity.errors import UserError
from editinfinity.prompts import find_word
from editinfinity.settings.groups import MaskSettings, ModelSettings

log = logging.getLogger(__name__)

Image = Annotated[Path, typer.Argument(help="The photograph.")]
Prompt = Annotated[str, typer.Option(help="Description of the edited picture.")]
Source = Annotated[str | None, typer.Option(help="Description of the photograph.")]
Mask = Annotated[
    Path | None,
    typer.Option(help="Region to edit: a picture (black), polygons (.json), box (.txt)."),
]
Blend = Annotated[
    Path | None, typer.Option(help="Blend mask of your own (.npy, .safetensors, .png).")
]
Box = Annotated[str | None, typer.Option(help="Region to edit: x,y,width,height in pixels.")]
Target = Annotated[
    str | None,
    typer.Option(help="Word for what to edit, found in --source; instead of a mask."),
]
Region = Annotated[str | None, setting_option("mask_edit_region")]


_DEFAULTS = {"crop": "auto", "metrics": 0}
"""Settings that differ from config.yaml's defaults: edit at full detail, compute no metrics."""


_RESERVED = frozenset({"cases", "data", "results", "slice", "pie_bench", "overrides"})
"""Settings that these commands rely on: they describe the project folder that they create."""


@dataclass(frozen=True)
class EditOptions:
    """Options of the commands ``edit`` and ``batch``."""

    prompt: Prompt
    source: Source = None
    target: Target = None
    seed: Annotated[int | None, setting_option("seed")] = None
    mask_edit_region: Region = None
    model: Annotated[str, setting_option("model")] = ModelSettings.model
    set: Annotated[
        list[str] | None,
        typer.Option(help="A setting of config.yaml, as KEY=VALUE; can be repeated."),
    ] = None
    work: Annotated[Path, typer.Option(help="Folder that keeps trained files between edits.")] = (
        Path(".editinfinity")
    )

    def settings(self) -> dict[str, Any]:
        """Return settings for config.yaml; ``UserError`` if a ``--set`` is invalid or reserved."""
        import yaml

        settings: dict[str, Any] = {**_DEFAULTS, "model": self.model}
        for key in ("seed", "mask_edit_region"):
            if (value := getattr(self, key)) is not None:
                settings[key] = value
        for text in self.set or ():
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

    def source_prompt(self) -> str | None:
        """Return ``--source``; if there is none, a prompt made from ``--target``."""
        return self.source or (f"a photo of a {self.target}" if self.target else self.source)

    def edit(self, mask: Path | None, box: str | None = None, blend: Path | None = None) -> NewEdit:
        """Return the edit of one photograph, for the given mask, box or blend mask."""
        return NewEdit(self.prompt, mask, box, self.target, blend)


def register(app: typer.Typer) -> None:
    """Add these commands to an app."""
    for command in (edit, batch, new, preview, show):
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
) -> None:
    """Edit a photograph.

        editinfinity edit photo.jpg --mask mask.png --prompt "a blue cup"

        editinfinity edit photo.jpg --target cup --prompt "a blue cup"

    The model is trained on the photograph once; another prompt or seed then takes seconds. Without
    mask, box, blend or target, the whole picture may change.
    """
    from editinfinity.cli.progress import lock_project, run_workflow
    from editinfinity.planning.in_use import locked_for_change, paths_of_output

    _require_at_most_one(mask, box, options.target, blend)
    _require_file(image)
    target_output = output_path(image, output, mask or blend)
    source = options.source_prompt()
    if options.target is not None:
        find_word(source or "", options.target, "--target")
    name = case_name(image)
    settings = {**options.settings(), "cases": [name]}
    smoothings = _smoothings(settings)
    project = options.work / name
    case, edits = project / "data" / name, {"edit": options.edit(mask, box, blend)}
    require_creatable(case, image, edits, overwrite=True)
    label = "--box" if box is not None else str(mask or blend or "") or None
    outputs = paths_of_output(output) if output else []
    with locked_for_change(outputs), lock_project(project) as lock:
        make_case(case, image, source, edits, overwrite=True)
        run = run_workflow(project, settings, lock)
        if run.failed:
            raise UserError(with_user_paths(run.failed[name][0], name, image, label))
        log_warnings(project, name, image, label, smoothings if label or options.target else ())
        picture = project / "results" / name / "edit.png"
        written = deliver(picture, image, target_output, output is not None)
        print_results([PhotographResult(image, "edited", run.seconds(name), str(written))])


def _smoothings(settings: dict[Any, Any]) -> tuple[str, ...]:
    """Check settings before anything is written, and return their smoothings of kernels.

    Raises:
        UserError: a setting is not valid.
    """
    from editinfinity.config.load import load_config

    smoothing: Any = load_config(settings, source="settings").settings["smoothing"]
    return tuple(smoothing)


@grouped
def batch(
    *,
    folder: Annotated[Path, typer.Argument(help="Folder of photographs.")],
    options: EditOptions,
    masks: Annotated[
        Path | None,
        typer.Option(help="Folder of masks, each named like its photograph."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder for the results; default: FOLDER_edited."),
    ] = None,
) -> None:
    """Edit every photograph in a folder; the others continue if one fails.

    editinfinity batch photos --prompt "a watercolour of a town"
    """
    from editinfinity.cli.progress import lock_project, run_workflow

    photographs, skipped = _photographs_in(folder, masks)
    results = output or folder.with_name(f"{folder.name}_edited")
    if results.resolve() == folder.resolve():
        raise UserError(f"--output: {results}: contains the photographs themselves; choose another")
    settings = {**options.settings(), "cases": list(photographs)}
    smoothings = _smoothings(settings)
    digest = hashlib.sha256(str(folder.absolute()).encode()).hexdigest()[:8]
    project = options.work / f"batch-{digest}"
    for name, (image, mask) in photographs.items():
        case, edits = project / "data" / name, {"edit": options.edit(mask)}
        require_creatable(case, image, edits, overwrite=True)
    outcomes = []
    with lock_project(project) as lock:
        for image in skipped:
            log.warning("%s: skipped, as it has no mask in %s", image, masks)
        for name, (image, mask) in photographs.items():
            edits = {"edit": options.edit(mask)}
            source = options.source_prompt() or ""
            make_case(project / "data" / name, image, source, edits, overwrite=True)
        run = run_workflow(project, settings, lock)
        for name, (image, mask) in photographs.items():
            picture = project / "results" / name / "edit.png"
            label = None if mask is None else str(mask)
            log_warnings(project, name, image, label, smoothings if label or options.target else ())
            if name in run.failed:
                reason = with_user_paths(run.failed[name][0], name, image, label)
                outcomes.append(PhotographResult(image, "failed", run.seconds(name), reason))
            elif picture.exists():
                path = results / f"{image.stem}{extension_for(image)}"
                path = deliver(picture, image, path, False)
                outcomes.append(PhotographResult(image, "edited", run.seconds(name), str(path)))
    print_results(outcomes)
    if run.failed:
        raise UserError(f"{len(run.failed)} of {len(photographs)} photographs could not be edited")


def _photographs_in(
    folder: Path, masks: Path | None
) -> tuple[dict[str, tuple[Path, Path | None]], list[Path]]:
    """Return (case → (photograph, its mask), photographs to skip as ``masks`` has none for them).

    Raises:
        UserError: there is no photograph, or no mask for any.
    """
    from editinfinity.cases.folders import MASK_ENDINGS
    from editinfinity.files.formats import IMAGE_ENDINGS

    if not folder.is_dir():
        raise UserError(f"{folder}: is not a folder; give the one with the photographs")
    images = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_ENDINGS)
    if not images:
        raise UserError(f"{folder}: contains no photograph ({', '.join(IMAGE_ENDINGS)})")
    cases, skipped = dict[str, tuple[Path, Path | None]](), []
    for image in images:
        candidates = [] if masks is None else [masks / f"{image.stem}{e}" for e in MASK_ENDINGS]
        mask = next((path for path in candidates if path.is_file()), None)
        if masks is None or mask is not None:
            cases[case_name(image)] = image, mask
        else:
            skipped.append(image)
    if not cases:
        raise UserError(f"{masks}: contains no mask named like a photograph in {folder}")
    return cases, skipped


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

    _require_at_most_one(mask, box, target, blend)
    _require_file(image)
    refuse_camera_files(image)  # a case gets a copy that is not opened here
    load_plugin(image)
    if reason := why_unusable(case):
        raise UserError(f"{case!r} cannot be the name of a case: {reason}")
    with locked_for_change(paths_of_case(data / case)):
        make_case(data / case, image, source, {name: NewEdit(prompt, mask, box, target, blend)})
    typer.echo(f"{data / case}: run it with: editinfinity run --config cases=[{case}]")


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
    with locked_for_change(path for name in cases for path in paths_of_case(data / name)):
        for name, case in cases.items():
            require_creatable(data / name, case.image, _edits_of(case))
        if dropped:
            keys = ", ".join(sorted(dropped))
            log.warning("%s: cases cannot store %s; use overrides of config.yaml", table, keys)
        for name, case in cases.items():
            source = None if case.source_prompt is None else str(case.source_prompt)
            make_case(data / name, case.image, source, _edits_of(case))
            typer.echo(data / name)


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
    """Draw the region of a mask in red, and a frame around the part used by crop: auto."""
    from editinfinity.files.cropping import crop_around
    from editinfinity.files.images import read_image, size_of, write_png
    from editinfinity.files.masks import mask_of_box, read_mask
    from editinfinity.files.preview import mask_preview
    from editinfinity.planning.in_use import locked_for_change, paths_of_output

    if (mask is None) == (box is None):
        raise UserError("give either --mask or --box")
    picture = read_image(image)
    size = size_of(picture)
    settings = MaskSettings(mask_edit_region or MaskSettings.mask_edit_region, mask_grow)
    if mask is not None:
        edited = read_mask(mask, size, settings.mask_edit_region, settings.mask_grow, image)
    else:
        edited = mask_of_box(str(box), size, "--box", settings.mask_grow)
    target = output or image.with_name(f"{image.stem}_preview.png")
    if target.suffix.lower() != ".png":
        raise UserError(f"--output: {target}: end the name in .png")
    if target.resolve() in {path.resolve() for path in (image, mask) if path is not None}:
        raise UserError(f"--output: {target}: is an input of the preview; choose another file")
    with locked_for_change(paths_of_output(target)):
        write_png(target, mask_preview(picture, edited, crop_around([edited], "1M")))
    typer.echo(f"{target}: {edited.mean():.1%} of the photograph is edited")


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


def _require_at_most_one(*options: Path | str | None) -> None:
    if sum(option is not None for option in options) > 1:
        raise UserError("give only one of --mask, --box, --blend and --target")


def _require_file(image: Path) -> None:
    if not image.is_file():
        raise UserError(f"{image}: there is no such file; give the path of a picture")
