"""Edit one photograph: make a case of it, run the workflow, deliver the picture."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editinfinity.cases.create import NewEdit, case_name, make_case, require_creatable
from editinfinity.cli.delivery import (
    PhotographResult,
    deliver,
    deliver_draft,
    log_lost_detail,
    log_warnings,
    print_picture,
    print_results,
    with_options,
    with_user_paths,
)
from editinfinity.cli.streams import STANDARD
from editinfinity.errors import UserError
from editinfinity.names import printable
from editinfinity.settings.groups import FOUND
from editinfinity.settings.guidance import values_of

if TYPE_CHECKING:
    from editinfinity.cli.warm import KeepWarm

log = logging.getLogger(__name__)


def checked_settings(settings: Mapping[Any, Any]) -> dict[str, Any]:
    """Check settings before anything is written, and return all settings of the edit.

    Raises:
        UserError: a setting is not valid.
    """
    from editinfinity.config.load import load_config

    return dict(load_config(settings, source="settings").settings)


def edit_one(
    image: Path,
    edit: NewEdit,
    source: str | None,
    settings: Mapping[Any, Any],
    work: Path,
    target: Path,
    *,
    overwrite: bool,
    first: Mapping[Any, Any] | None = None,
    notices: Iterable[str] = (),
    keep: KeepWarm | None = None,
) -> Path:
    """Edit a photograph, and print the path of the result.

    Args:
        image: the photograph.
        edit: the edit.
        source: the source prompt; None keeps that of an earlier edit.
        settings: settings for config.yaml.
        work: folder that keeps trained files between edits.
        target: the file to write to; ``-`` for standard output.
        overwrite: whether an existing file may be overwritten; otherwise the result gets a number.
        first: settings of a picture that is drawn and written before, if there is to be one.
        notices: lines to log once the work begins.
        keep: how long to keep the process of the edit.

    Returns:
        The path written to.

    Raises:
        UserError: an input or a setting does not fit, or a job has failed.
    """
    from editinfinity.cli.progress import lock_project, run_workflow
    from editinfinity.planning.in_use import locked_for_change, paths_of_output

    name = case_name(image)
    project = work / name
    case, edits = project / "data" / name, {"edit": edit}
    settings = {**settings, "cases": [name]}
    loaded = checked_settings(settings)
    require_creatable(case, image, edits, overwrite=True)
    doubts = _doubts_about_place(edit, image, loaded)
    finds_place = loaded["mask_source"] in FOUND
    label = "--box" if edit.box is not None else str(edit.mask or edit.blend or "") or None
    smoothings = values_of(loaded, "smoothing") if edit.is_localised or finds_place else ()
    outputs = paths_of_output(target) if overwrite and target != STANDARD else []
    with locked_for_change(outputs), lock_project(project) as lock:
        make_case(case, image, source, edits, overwrite=True)
        for line in notices:
            log.info("%s", line)
        for line in doubts:
            log.warning("%s", line)
        picture, draft, told = project / "results" / name / "edit.png", None, doubts
        where = project, name, image, label, smoothings
        if first is not None:
            run = run_workflow(project, {**first, "cases": [name]}, lock, keep)
            if run.failed:
                raise UserError(with_user_paths(run.failed[name][0], name, image, label))
            told = log_warnings(*where, told)
            draft = deliver_draft(picture, image, target, overwrite)
            log.info("%s: drawn without training; now the model is trained", draft)
        try:
            run = run_workflow(project, settings, lock, keep)
        except KeyboardInterrupt:
            log.warning("stopped: what was made so far is kept; the same command continues")
            raise
        if run.failed:
            reason = with_user_paths(run.failed[name][0], name, image, label)
            raise UserError(reason if draft is None else f"{reason}; {draft} is without training")
        log_warnings(*where, told)
        if finds_place:
            log_lost_detail(image, loaded)
        if target == STANDARD:
            print_picture(picture, image)
            return target
        written = deliver(picture, image, target, overwrite, draft)
        print_results([PhotographResult(image, "edited", run.seconds(name), str(written))])
    return written


def _doubts_about_place(edit: NewEdit, image: Path, settings: Mapping[str, Any]) -> list[str]:
    """Return why a mask is perhaps meant otherwise, before anything is trained for it.

    Raises:
        UserError: the mask or the box does not fit the photograph.
    """
    from editinfinity.files.masks import mask_of_box, read_mask
    from editinfinity.files.opening import size_upright

    doubts = list[str]()
    try:
        if edit.box is not None:
            mask_of_box(edit.box, size_upright(image), "--box")
        elif edit.mask is not None:
            region = settings["mask_edit_region"]
            read_mask(edit.mask, size_upright(image), region, photograph=image, notices=doubts)
    except UserError as error:
        raise UserError(with_options(str(error))) from None
    return [printable(with_options(line)) for line in doubts]
