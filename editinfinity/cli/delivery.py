"""What ``editinfinity edit`` and ``batch`` hand over: the picture, and what is to be said of it."""

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
    """How the edit of one photograph went; ``show`` is the picture, or why there is none."""

    image: Path
    outcome: str
    seconds: float | None
    show: str


def print_results(photographs: Sequence[PhotographResult]) -> None:
    """What was made: a table for a person, for a script the paths alone, faults beside them."""
    from editinfinity.results.summary import columns_of, duration

    if sys.stdout.isatty():
        rows = [("photograph", "outcome", "time", "open")]
        for image, outcome, seconds, show in photographs:
            took = "" if seconds is None else duration(seconds)
            rows.append((str(image), outcome, took, show))
        typer.echo("\n".join(columns_of(rows)))
        return
    for each in photographs:
        if each.outcome == "failed":
            log.error("%s", each.show)
        else:
            typer.echo(each.show)


def ending_for(image: Path) -> str:
    """The result's ending: the photograph's, where that can be written."""
    from editinfinity.files.writing import FORMATS

    return image.suffix if image.suffix.lower() in FORMATS else ".png"


def output_of(image: Path, output: Path | None, mask: Path | None) -> Path:
    """Where the result goes.

    Raises:
        UserError: ``--output`` has no usable ending, or would take the place of what is edited.
    """
    from editinfinity.files.writing import FORMATS

    if output is None:
        return image.with_name(f"{image.stem}_edited{ending_for(image)}")
    if output.suffix.lower() not in FORMATS:
        raise UserError(f"--output: {output}: choose one of the endings {', '.join(FORMATS)}")
    if output.resolve() in {path.resolve() for path in (image, mask) if path is not None}:
        raise UserError(f"--output: {output}: is what the edit is made of; choose another")
    return output


def deliver(picture: Path, image: Path, target: Path, overwrite: bool) -> Path:
    """Write a result in the format of its name, and return where it now lies.

    Unless ``overwrite``, no other file gives way: the name gets a number, until it is free or
    holds these very bytes. The settings inside do not tell all that decides the pixels (another
    mask, another photograph, other weights), so they are not what is compared.
    """
    from editinfinity.files.atomic import reserve_path, write_bytes
    from editinfinity.files.photograph import read_photograph
    from editinfinity.files.writing import encode_photograph, read_settings

    settings = read_settings(picture)
    content = encode_photograph(target, read_photograph(picture), settings, like=image)
    free, number = target, 1
    while not (overwrite or reserve_path(free)):
        if _holds(free, content):
            return free
        number += 1
        free = target.with_name(f"{target.stem}_{number}{target.suffix}")
    try:
        write_bytes(free, content)
    except BaseException:
        if not overwrite:
            free.unlink(missing_ok=True)
        raise
    return free


def _holds(path: Path, content: bytes) -> bool:
    """Whether a file can be read and holds this."""
    try:
        return path.stat().st_size == len(content) and path.read_bytes() == content
    except OSError:
        return False


def log_warnings(
    project: Path, name: str, image: Path, place: str | None, smoothings: Iterable[str]
) -> None:
    """What works but may not be meant, such as 16 bits a channel that come back as 8.

    Args:
        project: where the case was run.
        name: the case.
        image: the photograph.
        place: what the user knows the mask as; None where it is none of the user's.
        smoothings: of its kernels; none where the edit goes by no mask and no word.
    """
    from editinfinity.jobs.record import read_records
    from editinfinity.results.warnings import warnings_of

    records = read_records(project / "results" / name / "logs")
    for warning in warnings_of(records, {"edit": smoothings}):
        log.warning("%s", in_users_terms(warning, name, image, place))


def in_users_terms(fault: str, name: str, image: Path, place: str | None) -> str:
    """A line about a case that was made here, told of the user's own files."""
    line = fault.removeprefix(f"case {name}: ")
    for ours, theirs in (("original_image", str(image)), ("mask", place)):
        if theirs is not None:
            copy = rf"data/{re.escape(name)}/image/{ours}\.\w+"
            line = re.sub(copy, lambda _, shown=theirs: shown, line)  # type: ignore[misc]
    return line
