"""What ``editinfinity edit`` and ``batch`` deliver: the picture, and messages about it."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import typer

from editinfinity.errors import UserError

log = logging.getLogger(__name__)


class PhotographResult(NamedTuple):
    """The outcome of editing one photograph; ``show`` is the path of the picture, or the error."""

    image: Path
    outcome: str
    seconds: float | None
    show: str


def print_results(photographs: Sequence[PhotographResult]) -> None:
    """Print a table to a terminal; else only paths to stdout, and errors to the log on stderr."""
    from editinfinity.results.summary import columns_of, duration

    if sys.stdout.isatty():
        rows = [("photograph", "outcome", "time", "open")]
        for image, outcome, seconds, show in photographs:
            time = "" if seconds is None else duration(seconds)
            rows.append((str(image), outcome, time, show))
        typer.echo("\n".join(columns_of(rows)))
        return
    for result in photographs:
        if result.outcome == "failed":
            log.error("%s", result.show)
        else:
            typer.echo(result.show)


def extension_for(image: Path) -> str:
    """Return the file extension for a result: the photograph's if it can be written, else .png."""
    from editinfinity.files.writing import FORMATS

    return image.suffix if image.suffix.lower() in FORMATS else ".png"


def output_path(image: Path, output: Path | None, mask: Path | None) -> Path:
    """Return the file to write the result to.

    Raises:
        UserError: ``--output`` has an unsupported extension, cannot store the photograph, is an
            input of the edit, or lies in a folder that cannot be written to.
    """
    from editinfinity.files.atomic import require_writable
    from editinfinity.files.opening import size_upright
    from editinfinity.files.writing import FORMATS, require_writable_as

    if output is None:
        beside = image.with_name(f"{image.stem}_edited{extension_for(image)}")
        require_writable(beside)
        return beside
    if output.suffix.lower() not in FORMATS:
        raise UserError(f"--output: {output}: unknown format; choose one of {', '.join(FORMATS)}")
    if output.resolve() in {path.resolve() for path in (image, mask) if path is not None}:
        raise UserError(f"--output: {output}: is an input of this edit; choose another file")
    require_writable_as(output, size_upright(image))
    require_writable(output)
    return output


def deliver(picture: Path, image: Path, target: Path, overwrite: bool) -> Path:
    """Write a result in the format of ``target``'s extension, and return the path written to.

    Unless ``overwrite`` is set, no other file is overwritten: a number is added to the name until
    the name is free, or its file has exactly this content. Bytes are compared, as the settings
    in the file do not determine the pixels (they omit the mask, the photograph and the weights).
    """
    from editinfinity.files.atomic import reserve_path, write_bytes
    from editinfinity.files.photograph import read_photograph
    from editinfinity.files.writing import encode_photograph, read_settings

    settings = read_settings(picture)
    content = encode_photograph(target, read_photograph(picture), settings, like=image)
    path, number = target, 1
    while not (overwrite or reserve_path(path)):
        if _has_content(path, content):
            return path
        number += 1
        path = target.with_name(f"{target.stem}_{number}{target.suffix}")
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
    project: Path, case: str, image: Path, mask: str | None, smoothings: Iterable[str]
) -> None:
    """Log warnings about an edit that worked, such as 16 bits per channel reduced to 8.

    Args:
        project: folder in which the case was run.
        case: name of the case.
        image: the photograph.
        mask: the user's mask or blend mask, or ``--box``; None if the user gave none of these.
        smoothings: smoothings of the edit's kernels; none if it has no mask and no target word.
    """
    from editinfinity.jobs.record import read_records
    from editinfinity.results.warnings import warnings_of

    records = read_records(project / "results" / case / "logs")
    for warning in warnings_of(records, {"edit": smoothings}):
        log.warning("%s", with_user_paths(warning, case, image, mask))


def with_user_paths(message: str, case: str, image: Path, mask: str | None) -> str:
    """Replace the paths of a case's copies in a message by those of the user's files."""
    line = message.removeprefix(f"case {case}: ")
    for copy, original in (("original_image", str(image)), ("(?:mask|blend)", mask)):
        if original is not None:
            pattern = rf"data/{re.escape(case)}/image/{copy}\.\w+"
            line = re.sub(pattern, lambda _, path=original: path, line)  # type: ignore[misc]
    return line
