"""The command ``preview``: see the region of an edit, or find it, before anything is trained."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from editinfinity.cases.create import case_name, make_case, require_creatable
from editinfinity.cli.delivery import (
    deliver,
    log_warnings,
    printable_path,
    require_output_folder,
    with_options,
    with_user_paths,
)
from editinfinity.cli.edit_options import (
    WORK,
    Box,
    EditOptions,
    FindMask,
    Image,
    Mask,
    Model,
    Region,
    Set,
    Source,
    Work,
    require_at_most_one,
    require_file,
)
from editinfinity.cli.one_edit import checked_settings
from editinfinity.cli.options import setting_option
from editinfinity.cli.streams import tell
from editinfinity.errors import UserError
from editinfinity.settings.groups import MaskSettings, ModelSettings
from editinfinity.settings.guidance import values_of

log = logging.getLogger(__name__)


def register(app: typer.Typer) -> None:
    """Add this command to an app."""
    app.command("preview")(preview)


def preview(
    image: Image,
    mask: Mask = None,
    box: Box = None,
    mask_edit_region: Region = None,
    mask_grow: Annotated[int, setting_option("mask_grow")] = MaskSettings.mask_grow,
    find_mask: FindMask = None,
    prompt: Annotated[str | None, typer.Option(help="Edit prompt, for --find-mask.")] = None,
    source: Source = None,
    model: Model = ModelSettings.model,
    set: Set = None,
    work: Work = WORK,
    output: Annotated[
        Path | None,
        typer.Option(help="Default: PHOTO_preview.png, or PHOTO_mask.png with --find-mask."),
    ] = None,
) -> None:
    """Draw the region of a mask in red, and a frame around the part used by crop: auto.

    With --find-mask, the region is found from the prompts and written as a mask: look at it, paint
    over it, and pass it to edit as --mask.

    editinfinity preview photo.jpg --find-mask both --source "a red cup" --prompt "a blue cup"
    """
    require_at_most_one(mask=mask, box=box, find_mask=find_mask)
    if mask is None and box is None and find_mask is None:
        raise UserError("give either --mask, --box or --find-mask")
    if find_mask is None and (prompt or source or set):
        raise UserError("--prompt, --source, --set: apply only with --find-mask; leave them out")
    require_file(image)
    end = "preview" if find_mask is None else "mask"
    target = output or image.with_name(f"{image.stem}_{end}.png")
    if target.suffix.lower() != ".png":
        raise UserError(f"--output: {target}: end the name in .png")
    if target.resolve() in {path.resolve() for path in (image, mask) if path is not None}:
        raise UserError(f"--output: {target}: is an input of the preview; choose another file")
    require_output_folder(target.parent, target, "set --output to a file in another folder")
    if find_mask is not None:
        options = EditOptions(
            prompt or "", source, model=model, set=set, work=work, find_mask=find_mask
        )
        _find(image, options, target, overwrite=output is not None)
        return
    settings = MaskSettings(mask_edit_region or MaskSettings.mask_edit_region, mask_grow)
    _draw(image, mask, box, settings, target)


def _draw(
    image: Path, mask: Path | None, box: str | None, settings: MaskSettings, target: Path
) -> None:
    """Write the photograph with the region of a mask or box in red."""
    from editinfinity.files.cropping import crop_around
    from editinfinity.files.images import read_image, size_of, write_png
    from editinfinity.files.masks import mask_of_box, read_mask
    from editinfinity.files.preview import mask_preview
    from editinfinity.planning.in_use import locked_for_change, paths_of_output

    picture = read_image(image)
    size, notices = size_of(picture), list[str]()
    if mask is not None:
        region, grow = settings.mask_edit_region, settings.mask_grow
        try:
            edited = read_mask(mask, size, region, grow, image, notices)
        except UserError as error:
            raise UserError(with_options(str(error))) from None
    else:
        edited = mask_of_box(str(box), size, "--box", settings.mask_grow)
    with locked_for_change(paths_of_output(target)):
        write_png(target, mask_preview(picture, edited, crop_around([edited], "1M")))
    for line in notices:
        log.warning("%s", with_options(line))
    tell(f"{printable_path(target)}: {edited.mean():.1%} of the photograph is edited")


def _find(image: Path, options: EditOptions, target: Path, overwrite: bool) -> None:
    """Write the mask that is found from the prompts, in the project folder that ``edit`` uses.

    The workflow makes only the maps (``infer_function: 1``), so a later ``edit`` reuses what was
    encoded here.
    """
    from editinfinity.cli.progress import lock_project, run_workflow
    from editinfinity.files.masks import read_mask
    from editinfinity.files.opening import size_upright
    from editinfinity.planning.in_use import locked_for_change, paths_of_output
    from editinfinity.planning.targets import Layout

    name = case_name(image)
    settings = {**options.settings(), "cases": [name], "infer_function": 1}
    smoothings = values_of(checked_settings(settings), "smoothing")
    project = options.work / name
    case, edits = project / "data" / name, {"edit": options.edit(None)}
    require_creatable(case, image, edits, overwrite=True)
    with locked_for_change(paths_of_output(target)), lock_project(project) as lock:
        make_case(case, image, options.source, edits, overwrite=True)
        run = run_workflow(project, settings, lock)
        if run.failed:
            raise UserError(with_user_paths(run.failed[name][0], name, image, None))
        log_warnings(project, name, image, None, smoothings)
        mask, heatmap = map(Path, Layout(str(project / "results" / name)).mask_pictures("edit"))
        written = deliver(mask, mask, target, overwrite)
        share = read_mask(written, size_upright(image)).mean()
    tell(f"{printable_path(written)}: {share:.1%} of the photograph is edited; how sure: {heatmap}")
