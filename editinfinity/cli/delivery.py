"""What ``editinfinity edit`` and ``batch`` deliver: the picture, and messages about it."""

from __future__ import annotations

import itertools
import logging
import os
import re
import sys
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from editinfinity.cases.photo_folder import Unedited
from editinfinity.cli.streams import (
    STANDARD,
    is_quiet,
    print_json,
    require_writable_standard_output,
    tell,
    write_standard_output,
)
from editinfinity.errors import UserError
from editinfinity.files.input_files import is_folder
from editinfinity.names import printable

MIN_LOST_DETAIL = 4
"""Pixels of a photograph for each pixel of the model from which ``log_lost_detail`` logs."""

log = logging.getLogger(__name__)

_LEVELS = {"failed": logging.ERROR, "skipped": logging.WARNING}
"""Level of the line about a photograph that was not edited, by its outcome."""


class PhotographResult(NamedTuple):
    """The outcome of editing one photograph.

    Attributes:
        image: the photograph.
        outcome: ``edited``, ``failed``, or ``skipped`` if it was left out on purpose.
        seconds: total time of its jobs; None if it had none.
        show: path of the picture, or the reason why there is none.
    """

    image: Path
    outcome: str
    seconds: float | None
    show: str

    @property
    def line(self) -> str:
        """The reason why it was not edited, in one line with the name of the photograph."""
        named = self.show.startswith(str(self.image))
        return printable(self.show if named else f"{self.image}: {self.show}")

    def as_json(self) -> dict[str, Any]:
        """Return the outcome as ``schemas/command_output.schema.yaml`` describes it."""
        edited = self.outcome == "edited"
        return {
            "photograph": str(self.image),
            "outcome": self.outcome,
            "seconds": self.seconds,
            "picture": self.show if edited else None,
            "reason": None if edited else self.line,
        }


def results_of_unedited(files: Iterable[Unedited]) -> list[PhotographResult]:
    """Return the outcomes of files that are not edited."""
    return [
        PhotographResult(file.path, "failed" if file.is_fault else "skipped", None, file.reason)
        for file in files
    ]


def print_results(photographs: Sequence[PhotographResult]) -> None:
    """Print a table to a terminal; else only paths to stdout, and reasons to the log on stderr."""
    from editinfinity.results.summary import columns_of, duration

    if sys.stdout.isatty() and not is_quiet():
        rows = [("photograph", "outcome", "time", "open")]
        for image, outcome, seconds, show in photographs:
            time = "" if seconds is None else duration(seconds)
            rows.append((printable(str(image)), outcome, time, printable(show)))
        tell("\n".join(columns_of(rows)))
        return
    for result in photographs:
        if result.outcome == "edited":
            tell(printable_path(result.show))
    _log_unedited(photographs)


def print_results_as_json(photographs: Sequence[PhotographResult]) -> None:
    """Print the outcomes as JSON to stdout; the reasons are also logged on stderr."""
    print_json({"photographs": [result.as_json() for result in photographs]})
    _log_unedited(photographs)


def _log_unedited(photographs: Iterable[PhotographResult]) -> None:
    for result in photographs:
        if result.outcome != "edited":
            log.log(_LEVELS[result.outcome], "%s", result.line)


def printable_path(path: str | Path) -> str:
    """Return a path for stdout, which programs read: only characters that would break the line
    are escaped, and bytes that are no UTF-8 are printed unchanged.
    """
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", lambda c: printable(c[0]), str(path))


def extension_for(image: Path) -> str:
    """Return the file extension for a result: the photograph's if it can be written, else .png."""
    from editinfinity.files.writing import FORMATS

    return image.suffix if image.suffix.lower() in FORMATS else ".png"


_MAX_NAME_BYTES = 255
"""Maximum length of a file's name, in bytes, on all usual file systems."""

_MAX_NUMBER_BYTES = 5
"""Bytes kept free in a name for the number that may be added to it, ``_9999``."""


def result_path(folder: Path, image: Path, addition: str = "") -> Path:
    """Return the path of a result that is named like its photograph.

    A name that would be too long for the file system is shortened.
    """
    ending = extension_for(image)
    room = _MAX_NAME_BYTES - _MAX_NUMBER_BYTES - len(os.fsencode(addition + ending))
    stem = os.fsencode(image.stem)
    while len(stem) > room:  # by whole characters
        stem = os.fsencode(os.fsdecode(stem)[:-1])
    return folder / f"{os.fsdecode(stem)}{addition}{ending}"


def output_path(
    image: Path, output: Path | None, inputs: Iterable[Path | None], addition: str = "_edited"
) -> Path:
    """Return the file to write the result of ``edit`` to, and check that it can be written.

    Args:
        image: the photograph, or another picture of its size that the result is named after.
        output: ``--output``; None for a file beside the photograph, ``-`` for standard output.
        inputs: files of the edit besides the photograph, which must not be overwritten.
        addition: what the name of a file beside the photograph gets.

    Raises:
        UserError: ``--output`` has an unsupported extension, cannot store the photograph, is an
            input of the edit, or no file can be created there; or standard output is a terminal.
    """
    from editinfinity.files.opening import size_upright
    from editinfinity.files.writing import FORMATS, require_writable_as

    if output == STANDARD:
        require_writable_standard_output()
        return output
    if output is None:
        path = result_path(image.parent, image, addition)
        require_output_folder(path.parent, path, "set --output to a file in another folder")
        return path
    if is_folder(output):
        example = output / result_path(Path(), image, addition)
        raise UserError(f"--output: {output}: is a folder; name a file, e.g. {example}")
    if output.suffix.lower() not in FORMATS:
        raise UserError(f"--output: {output}: unknown format; choose one of {', '.join(FORMATS)}")
    if len(os.fsencode(output.name)) > _MAX_NAME_BYTES:
        raise UserError(
            f"--output: {output}: has a name of more than {_MAX_NAME_BYTES} bytes; shorten it"
        )
    require_output_folder(output.parent, f"--output: {output}", "choose another folder")
    if output.exists() and not output.is_file():
        raise UserError(f"--output: {output}: is not a regular file; choose another name")
    if output.resolve() in {path.resolve() for path in (image, *inputs) if path is not None}:
        raise UserError(f"--output: {output}: is an input of this edit; choose another file")
    require_writable_as(output, size_upright(image))
    return output


def require_output_folder(folder: Path, label: Path | str, cure: str) -> None:
    """Check, before an edit begins, that files can be created in the folder of its result.

    Args:
        folder: the folder, which is created later if it is missing.
        label: the path and option that a message names.
        cure: advice for the message.

    Raises:
        UserError: no file can be created there.
    """
    reason: str | None
    try:
        existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(bytes(4096))  # a full disk lets empty files be created
            return
    except NotADirectoryError:
        reason = f"{existing} is not a folder"
    except OSError as error:
        reason = error.strerror
    raise UserError(f"{label}: cannot be written ({reason}); {cure}")


def deliver(
    picture: Path, image: Path, target: Path, overwrite: bool, draft: Path | None = None
) -> Path:
    """Write a result in the format of ``target``'s extension, and return the path written to.

    Unless ``overwrite`` is set, no other file is overwritten: a number is added to the name until
    the name is free, or its file has exactly this content. Bytes are compared, as what a picture
    says of itself need not determine its pixels (on a GPU, for one).

    Args:
        picture: the result, a PNG of the workflow.
        image: the photograph.
        target: the file to write to.
        overwrite: whether an existing file may be overwritten.
        draft: file of ``deliver_draft``, whose place the result takes.
    """
    content = _content_of(picture, image, target)
    for path in _numbered(target):
        if overwrite or path == draft or _reserve(path):
            _write(path, content, overwrite or path == draft)
            break
        if _has_content(path, content):
            break
    if draft is not None and path != draft:
        draft.unlink(missing_ok=True)
    return path


def print_picture(picture: Path, image: Path) -> None:
    """Write a result to standard output, in the photograph's format if that can be written."""
    write_standard_output(_content_of(picture, image, result_path(Path(), image)))


def deliver_draft(picture: Path, image: Path, target: Path, overwrite: bool) -> Path:
    """Write a picture that a better one will replace, and return the path written to.

    As ``deliver``, but never to a file that exists already unless ``overwrite`` is set.
    """
    path = next(path for path in _numbered(target) if overwrite or _reserve(path))
    return _write(path, _content_of(picture, image, target), overwrite)


def _content_of(picture: Path, image: Path, target: Path) -> bytes:
    """Return a result as bytes of the format of ``target``'s extension."""
    from editinfinity.files.photograph import read_photograph
    from editinfinity.files.writing import encode_photograph, read_settings

    return encode_photograph(target, read_photograph(picture), read_settings(picture), like=image)


def _numbered(target: Path) -> Iterator[Path]:
    """Yield ``photo.jpg``, ``photo_2.jpg``, ``photo_3.jpg`` and so on."""
    yield target
    for number in itertools.count(2):
        yield target.with_name(f"{target.stem}_{number}{target.suffix}")


def _reserve(path: Path) -> bool:
    from editinfinity.files.atomic import reserve_path

    return reserve_path(path)


def _write(path: Path, content: bytes, overwrite: bool) -> Path:
    """Write a file that was reserved, or may be overwritten; leave no reserved one on an error."""
    from editinfinity.files.atomic import write_bytes

    try:
        write_bytes(path, content)
    except BaseException:
        if not overwrite:
            path.unlink(missing_ok=True)
        raise
    return path


def _has_content(path: Path, content: bytes) -> bool:
    """Whether a file can be read and has this content."""
    try:
        return path.stat().st_size == len(content) and path.read_bytes() == content
    except OSError:
        return False


def log_warnings(
    project: Path,
    case: str,
    image: Path,
    mask: str | None,
    smoothings: Iterable[str],
    told: Collection[str] = (),
) -> list[str]:
    """Log warnings about an edit that worked, such as 16 bits per channel reduced to 8.

    Args:
        project: folder in which the case was run.
        case: name of the case.
        image: the photograph.
        mask: the user's mask or blend mask, or ``--box``; None if the user gave none of these.
        smoothings: smoothings of the edit's kernels; none if it has no mask and no target word.
        told: warnings to leave out, because they have been logged.

    Returns:
        All warnings about the edit.
    """
    from editinfinity.jobs.record import read_records
    from editinfinity.results.warnings import warnings_of

    records = read_records(project / "results" / case / "logs")
    warnings = warnings_of(records, {"edit": smoothings})
    lines = [with_user_paths(warning, case, image, mask) for warning in warnings]
    for line in lines:
        if line not in told:
            log.warning("%s", line)
    return lines


def log_lost_detail(image: Path, settings: Mapping[str, Any]) -> None:
    """Log that a place found on a large photograph is edited at the model's size, and the cure.

    Args:
        image: the photograph.
        settings: all settings of the edit, which finds its place from the prompts.
    """
    from editinfinity.files.images import schedule_for
    from editinfinity.files.opening import size_upright
    from editinfinity.planning.model import effective

    height, width = size_upright(image)
    seen = schedule_for((height, width), effective("pixel_budget", settings)).image_size
    if settings["crop"] == "auto" and height * width > MIN_LOST_DETAIL * seen[0] * seen[1]:
        log.warning(
            "%s: the place was found on the whole photograph, so the edit has the detail of %d×%d "
            "pixels; for full detail, edit with --mask and the mask of preview --find-mask",
            image,
            *seen[::-1],
        )


def with_user_paths(message: str, case: str, image: Path, mask: str | None) -> str:
    """Replace the files of a case in a message by the user's files and options."""
    line = message.removeprefix(f"case {case}: ")
    originals = {
        r"image/original_image\.\w+": printable(str(image)),
        r"image/(?:mask|blend)\.\w+": None if mask is None else printable(mask),
        r"prompt/edit_image_prompt\.txt": "--prompt",
        r"prompt/original_image_prompt\.txt": "--source",
        r"prompt/target_word\.txt": "--target",
    }
    for copy, original in originals.items():
        if original is not None:
            pattern = rf"data/{re.escape(case)}/{copy}"
            line = re.sub(pattern, lambda _, path=original: path, line)  # type: ignore[misc]
    return with_options(line)


def with_options(message: str) -> str:
    """Replace a setting that a message advises by the option of these commands."""
    return re.sub(r"set mask_edit_region: (\w+)", r"use --mask-edit-region \1", message)
