"""The command ``batch``: edit the photographs in a folder, at once or as they arrive."""

from __future__ import annotations

import hashlib
import logging
import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from editinfinity.cancellation import Stopped
from editinfinity.cases.create import case_name, make_case
from editinfinity.cases.photo_folder import (
    Found,
    MaskFolder,
    Photograph,
    assign_masks,
    find_photographs,
)
from editinfinity.cli.delivery import (
    PhotographResult,
    deliver,
    log_lost_detail,
    log_warnings,
    print_results,
    print_results_as_json,
    require_output_folder,
    result_path,
    results_of_unedited,
    with_user_paths,
)
from editinfinity.cli.edit_options import (
    EditOptions,
    found_place_line,
    log_unused_training,
    on_disk,
    require_at_most_one,
)
from editinfinity.cli.one_edit import checked_settings
from editinfinity.cli.options import grouped
from editinfinity.cli.streams import AsJson
from editinfinity.errors import UserError
from editinfinity.files.input_files import is_folder, require_file
from editinfinity.prompts import find_word
from editinfinity.settings.guidance import values_of

log = logging.getLogger(__name__)

_MAX_LISTED = 5
"""Maximum number of hidden files that are listed by name."""


@grouped
def batch(
    *,
    folder: Annotated[Path, typer.Argument(help="Folder of photographs.", callback=on_disk)],
    options: EditOptions,
    masks: Annotated[
        Path | None,
        typer.Option(
            help="Folder of masks, each named like its photograph, or one mask for all; default: "
            "PHOTO_mask.png beside a photograph.",
            callback=on_disk,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder for the results; default: FOLDER_edited."),
    ] = None,
    recursive: Annotated[
        bool, typer.Option("--recursive", help="Also search the subfolders.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Edit each photograph that arrives, until Ctrl-C.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Edit every photograph in a folder; the others continue if one fails.

        editinfinity batch photos --prompt "a watercolour of a town"

    A photograph without a mask is edited where --source and --prompt differ, or as a whole if
    there is no --source. Each file that is not edited is named with the reason. The exit status is
    1 if one of them should have been edited.
    """
    from editinfinity.cli.progress import lock_project

    if not is_folder(folder):
        raise UserError(f"{folder}: is not a folder; give the one with the photographs")
    require_at_most_one(masks=masks, target=options.target, find_mask=options.find_mask)
    if options.target is not None:
        find_word(options.source_prompt() or "", options.target, "--target")
    if masks is not None and not is_folder(masks):
        require_file(masks, sys.maxsize, "give a folder of masks, or one mask for all")
    show = print_results_as_json if as_json else print_results
    results = _results_folder(folder, output)
    require_output_folder(results, results, "set --output to another folder")
    settings = checked_settings(options.settings())
    log_unused_training(options.settings())
    search = _Search(folder, recursive, masks, not options.finds_place, (results, options.work))
    place = Path(os.path.realpath(folder))
    digest = hashlib.sha256(os.fsencode(place)).hexdigest()[:8]
    project = options.work / f"batch-{digest}"
    if watch:
        from editinfinity.cli.watch import require_watchdog, watch_folders

        require_watchdog()
        with lock_project(project) as lock:
            editor = _Editor(options, place, results, project, lock, settings)
            watch_folders(
                [folder, *([masks] if masks else [])], recursive, search.find, editor.edit, show
            )
        return
    found = search.find()
    unedited = [*_hidden(found, folder), *results_of_unedited(found.unedited)]
    with lock_project(project) as lock:
        for result in unedited:
            log.warning("%s", result.line)
        if not found.photographs:
            raise UserError(_no_photograph(found, folder))
        editor = _Editor(options, place, results, project, lock, settings)
        edited = editor.edit(found.photographs, found)
    outcomes = sorted([*edited, *unedited], key=lambda result: result.image)
    show(outcomes)
    counts = Counter(result.outcome for result in outcomes)
    if failed := counts["failed"]:
        total = failed + counts["edited"]
        raise UserError(f"{failed} of {total} photographs could not be edited")


def _results_folder(folder: Path, output: Path | None) -> Path:
    """Return the folder for the results: ``output``, else one beside the photographs' folder.

    Raises:
        UserError: it is the photographs' folder, or that has no name to derive it from.
    """
    if output is None:
        place = folder
        if folder.name in ("", ".."):  # the name of "." is empty
            place = Path(os.path.realpath(folder))
            if not place.name:
                raise UserError(f"{folder}: has no name for the results; add --output FOLDER")
        output = place.with_name(f"{place.name}_edited")
        if place != folder and not folder.is_absolute():
            output = Path(os.path.relpath(output))
    if os.path.realpath(output) == os.path.realpath(folder):
        raise UserError(f"--output: {output}: contains the photographs themselves; choose another")
    return output


def _hidden(found: Found, folder: Path) -> list[PhotographResult]:
    """Return one outcome for all hidden files that could be taken for photographs."""
    names = [path.name for path in found.hidden]
    if not names:
        return []
    more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    listed = ", ".join(names[:_MAX_LISTED])
    line = f"{folder}: hidden files are not edited: {listed}{more}"
    return [PhotographResult(folder, "skipped", None, line)]


def _no_photograph(found: Found, folder: Path) -> str:
    """Return the message for a folder without a photograph to edit."""
    if found.unedited:
        return f"{folder}: contains no photograph that can be edited, for the reasons above"
    cure = "give the folder that contains them"
    if found.unsearched:
        cure = "add --recursive to search its subfolders"
    return f"{folder}: contains no photograph to edit; {cure}"


@dataclass(frozen=True)
class _Search:
    """How the photographs are found.

    Attributes:
        folder: folder of the photographs.
        recursive: whether its subfolders are searched too.
        masks: folder of masks, one mask for all photographs, or None for masks beside them.
        uses_masks: whether masks are used; else the model finds where to edit.
        left_out: folders that are not searched.
    """

    folder: Path
    recursive: bool
    masks: Path | None
    uses_masks: bool
    left_out: tuple[Path, ...]

    def find(self) -> Found:
        """Return the photographs with their masks, and the files that are not edited.

        Raises:
            UserError: the folder of masks cannot be listed.
        """
        masks = self.masks
        left_out = self.left_out if masks is None else (*self.left_out, masks)
        found = find_photographs(self.folder, self.recursive, left_out)
        if not self.uses_masks:
            return found
        if masks is None:
            assign_masks(found, lambda photograph: found.masks_beside.get(photograph.path, []))
        elif is_folder(masks):
            assign_masks(found, MaskFolder(masks, found.photographs).masks_of, needed_in=masks)
        else:
            assign_masks(found, lambda photograph: [masks])
        return found


@dataclass(frozen=True)
class _Editor:
    """Edits photographs in a project folder, each as a case of its own.

    Attributes:
        options: options of the edit.
        folder: real path of the photographs' folder.
        results: folder for the results, which has the same subfolders.
        project: folder in which the workflow runs.
        lock: descriptors of its lock, for the workflow to hold it too.
        settings: all settings of the edits.
    """

    options: EditOptions
    folder: Path
    results: Path
    project: Path
    lock: Sequence[int]
    settings: Mapping[str, Any]

    def edit(self, photographs: Sequence[Photograph], found: Found) -> list[PhotographResult]:
        """Edit photographs and deliver the results.

        Args:
            photographs: what to edit.
            found: everything that was found, so that no two results get the same name.

        Raises:
            UserError: the workflow could not start.
        """
        results, cases = list[PhotographResult](), dict[str, Photograph]()
        for photograph in photographs:
            path, mask = photograph.path, photograph.mask
            name = case_name(self.folder / photograph.folder / path.name)
            if mask is not None and mask.parent == path.parent:
                log.info("%s: is edited where %s allows it", path, mask.name)
            try:
                edits, source = {"edit": self.options.edit(mask)}, self.options.source_prompt()
                make_case(self.project / "data" / name, path, source or "", edits, overwrite=True)
            except UserError as error:
                results.append(PhotographResult(path, "failed", None, str(error)))
                log.warning("%s", results[-1].line)
            else:
                cases[name] = photograph
        return results + self._results_of(cases, found) if cases else results

    def _results_of(self, cases: Mapping[str, Photograph], found: Found) -> list[PhotographResult]:
        """Run the workflow for some cases; each picture is delivered as soon as it is made."""
        from editinfinity.cli.progress import Photographs, run_workflow

        settings: dict[str, Any] = {**self.options.settings(), "cases": list(cases)}
        settings["overrides"] = self._places_found(cases)
        paths = _result_paths(found.photographs)
        targets = {case: self.results / paths[each.path] for case, each in cases.items()}
        names = {case: str(each.folder / each.path.name) for case, each in cases.items()}
        written = dict[str, Path]()

        def write(case: str) -> None:
            with suppress(UserError, OSError):  # it is tried again, and told, at the end
                written[case] = self._write(case, cases[case], targets[case])

        try:
            run = run_workflow(
                self.project, settings, self.lock, photographs=Photographs(names, write)
            )
        except (KeyboardInterrupt, Stopped):
            log.warning(
                "stopped: %d of %d photographs were edited now, see %s; the same command continues",
                len(written), len(cases), self.results,
            )  # fmt: skip
            raise
        return [
            self._outcome(
                case, photograph, targets[case], run.seconds(case),
                run.failed.get(case, [None])[0], written.get(case),
            )
            for case, photograph in cases.items()
        ]  # fmt: skip

    def _options_of(self, photograph: Photograph) -> EditOptions:
        """Return the options for a photograph, of which some have a mask beside them."""
        return self.options if photograph.mask is not None else self.options.finding_the_place()

    def _places_found(self, cases: Mapping[str, Photograph]) -> dict[str, dict[str, Any]]:
        """Return case → the settings that find its place, of the cases where no option says so."""
        usual, found = self.options.settings(), self.options.finding_the_place().settings()
        names = [name for name, each in cases.items() if each.mask is None]
        if not names or usual == found:
            return {}
        log.info("%s", found_place_line(f"photographs without a mask ({len(names)})", found))
        log_unused_training(found)
        return {
            name: {key: value for key, value in found.items() if usual.get(key) != value}
            for name in names
        }

    def _write(self, case: str, photograph: Photograph, target: Path) -> Path:
        """Write the result of a photograph, and return its path."""
        return deliver(self._picture(case), photograph.path, target, False)

    def _picture(self, case: str) -> Path:
        return self.project / "results" / case / "edit.png"

    def _outcome(
        self,
        case: str,
        photograph: Photograph,
        target: Path,
        seconds: float | None,
        fault: str | None,
        written: Path | None,
    ) -> PhotographResult:
        """Return what became of a photograph; its result is written unless it has been."""
        path, mask = photograph.path, None if photograph.mask is None else str(photograph.mask)
        options = self._options_of(photograph)
        located = mask is not None or options.finds_place
        smoothings = values_of(self.settings, "smoothing") if located else ()
        log_warnings(self.project, case, path, mask, smoothings)
        if fault is not None:
            fault = with_user_paths(fault, case, path, mask)
        elif not self._picture(case).exists():
            fault = f"{path}: was not edited; see {self.project / 'results' / case / 'logs'}"
        else:
            try:
                written = written or self._write(case, photograph, target)
                if options.find_mask is not None:
                    log_lost_detail(path, self.settings)
                return PhotographResult(path, "edited", seconds, str(written))
            except UserError as error:
                fault = str(error)
        return PhotographResult(path, "failed", seconds, fault)


def _result_paths(photographs: Sequence[Photograph]) -> dict[Path, Path]:
    """Return photograph → path of its result, relative to the folder for the results.

    It has the photograph's name, if needed with another ending. Where two photographs would get
    the same one (``a.bmp`` and ``a.gif``), the ending is appended: ``a.bmp.png``.
    """
    names = {
        photograph.path: result_path(photograph.folder, photograph.path)
        for photograph in photographs
    }
    counts = Counter(names.values())
    return {
        path: name
        if counts[name] == 1 or name.name == path.name
        else name.with_name(f"{path.name}{name.suffix}")
        for path, name in names.items()
    }
