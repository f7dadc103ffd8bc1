"""The command ``again``: make a picture once more from what it says of itself."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from editinfinity.cases.create import NewEdit, mask_files_of
from editinfinity.cli.delivery import output_path
from editinfinity.cli.edit_options import WORK, Set, Work, on_disk, parse_set, require_file
from editinfinity.cli.one_edit import checked_settings, edit_one
from editinfinity.cli.streams import STANDARD, text_or_standard_input
from editinfinity.errors import UserError
from editinfinity.names import printable
from editinfinity.prompts import find_word

if TYPE_CHECKING:
    from editinfinity.files.provenance import Fingerprint, Provenance

log = logging.getLogger(__name__)


def again(
    picture: Annotated[
        Path, typer.Argument(help="A picture made by editinfinity.", callback=on_disk)
    ],
    photograph: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="The photograph; by default the file beside the picture that it was made from.",
            callback=on_disk,
        ),
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(
            help="The mask or blend mask; by default the file beside the picture or photograph "
            "that it was made with.",
            callback=on_disk,
        ),
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option(
            help="Description of the edited picture, if another; - reads it from standard input.",
            callback=text_or_standard_input,
        ),
    ] = None,
    set: Set = None,
    output: Annotated[
        Path | None, typer.Option(help="Default: PICTURE_again beside the picture.")
    ] = None,
    work: Work = WORK,
) -> None:
    """Make a picture once more, from the settings stored in it, or a variation of it.

        editinfinity again photo_edited.jpg

        editinfinity again photo_edited.jpg --from photo.jpg --mask mask.png --set seed=7

    On a CPU, the same versions and number of threads make the same bytes; what differs is told.
    """
    from editinfinity.files.provenance import Provenance
    from editinfinity.files.writing import read_settings

    require_file(picture)
    read = Provenance.from_json(read_settings(picture))
    if read is None:
        raise UserError(
            f"{picture}: does not say how it was made (provenance: 0, an earlier version or "
            "another program); use editinfinity edit"
        )
    made, left_out = read
    if left_out:
        names = printable(", ".join(left_out))[:_MAX_LINE]
        log.warning("%s: has settings that are not valid here and are left out: %s", picture, names)
    changed = parse_set(set)
    inputs = _inputs_of(picture, made, photograph, mask, changed)
    settings = {**made.settings, **_environment_settings(made), "metrics": 0, **changed}
    if "mask_source" not in changed:
        settings["mask_source"] = inputs.mask_source
    if inputs.are_others and "crop" not in changed and settings.get("crop") != "full":
        settings["crop"] = "auto"
    loaded = checked_settings(settings)
    if differences := [*inputs.differences, *_differences(made, loaded)]:
        log.warning("%s: the result may differ: %s", picture, "; ".join(differences))
    target = output_path(picture, output, (inputs.photograph, inputs.mask), "_again")
    written = edit_one(
        inputs.photograph,
        inputs.edit(made, prompt),
        made.source_prompt,
        settings,
        work,
        target,
        overwrite=output is not None,
    )
    if not changed and prompt is None and written != STANDARD:
        same = written.read_bytes() == picture.read_bytes()
        log.info("%s: %s %s", written, "has the same bytes as" if same else "differs from", picture)


@dataclass(frozen=True)
class _Inputs:
    """The files that a picture is made from.

    Attributes:
        photograph: the photograph.
        mask: the mask or blend mask; None if no file is needed.
        mask_source: origin of the mask.
        differences: how they differ, or may differ, from those that the picture was made from.
        are_others: whether they are known to differ.
    """

    photograph: Path
    mask: Path | None
    mask_source: str
    differences: tuple[str, ...]
    are_others: bool

    def edit(self, made: Provenance, prompt: str | None) -> NewEdit:
        """Return the edit to make.

        Raises:
            UserError: the target word is not in the source prompt.
        """
        source, blends = self.mask_source, self.mask_source == "blend"
        word = made.target_word if source == "attention" else None
        if word is not None:
            find_word(made.source_prompt, word, "target word")
        return NewEdit(
            prompt or made.prompt,
            mask=None if blends else self.mask,
            box=made.box if source == "user" and self.mask is None else None,
            target_word=word,
            blend=self.mask if blends else None,
        )


def _inputs_of(
    picture: Path,
    made: Provenance,
    photograph: Path | None,
    mask: Path | None,
    changed: Mapping[str, Any],
) -> _Inputs:
    """Return the files to make a picture from: those given, else those found by fingerprint.

    Raises:
        UserError: a file is needed, but neither given nor beside the picture.
    """
    photograph = photograph or _found(made.photograph, [picture.parent])
    if photograph is None:
        raise UserError(
            f"{picture}: the photograph that it was made from is not beside it; add --from PHOTO"
        )
    require_file(photograph)
    same = None if made.photograph is None else made.photograph.matches(photograph)
    compared: list[tuple[Path, str, bool | None]] = [
        (photograph, "photograph that it was made from", same)
    ]
    source = str(changed.get("mask_source", made.settings.get("mask_source", "none")))
    if mask is not None:
        require_file(mask)
        source = source if source == "blend" else "user"
        same = _is_its_mask(made, mask, source, photograph)
        compared.append((mask, "mask that it was made with", same))
    elif source == "blend" or (source == "user" and made.box is None):
        mask = _found(made.mask, [picture.parent, photograph.parent])
        if mask is None:
            raise UserError(
                f"{picture}: the mask that it was made with is not beside it; add --mask MASK"
            )
    differences = tuple(
        f"{path} {'may not be' if same is None else 'is not'} the {what}"
        for path, what, same in compared
        if not same
    )
    are_others = any(same is False for _, _, same in compared)
    return _Inputs(photograph, mask, source, differences, are_others)


def _is_its_mask(made: Provenance, mask: Path, source: str, photograph: Path) -> bool | None:
    """Return whether a picture was made with this mask; None if the picture does not say."""
    from editinfinity.files.provenance import Fingerprint

    if made.mask is None:
        is_given = made.settings.get("mask_source") in ("user", "blend") and made.box is None
        return None if is_given else False
    if made.mask.matches(mask):
        return True
    # As the case stores it: a mask of another format is converted.
    edit = NewEdit("", blend=mask) if source == "blend" else NewEdit("", mask=mask)
    files = [file for file in mask_files_of(edit, photograph) if file is not None]
    return [made.mask] == [Fingerprint.of(content) for _, content in files]


def _found(fingerprint: Fingerprint | None, folders: Iterable[Path]) -> Path | None:
    """Return the first file with a fingerprint in these folders, or None."""
    if fingerprint is None:
        return None
    paths = (path for folder in folders for path in sorted(folder.iterdir()))
    return next((path for path in paths if fingerprint.matches(path)), None)


def _environment_settings(made: Provenance) -> dict[str, Any]:
    """Return the settings with which the drawing runs as it did then, if that was on a CPU."""
    if made.environment is None or made.environment.device != "cpu":
        return {}
    threads = made.environment.threads
    return {"device": "cpu", "threads": threads} if 1 <= threads <= _MAX_THREADS else {}


_MAX_LINE = 400
"""Maximum number of characters that a message repeats of what a picture says."""

_MAX_THREADS = 256
"""Maximum number of threads that is taken from a picture."""


def _differences(made: Provenance, settings: Mapping[str, Any]) -> list[str]:
    """Return in what the model and this machine differ from those that made a picture."""
    from editinfinity.environment import package_versions
    from editinfinity.planning.model import model_identity

    differences, here = [], package_versions()
    if made.environment is None:
        differences.append("it does not say with which versions it was made")
    for verb, used in (("made", made.environment), ("trained", made.training_environment)):
        if used is None:
            continue
        if used.versions != here:
            differences.append(f"it was {verb} with {used.versions}, and here is {here}")
        if used.device != "cpu":
            differences.append(f"it was {verb} on {used.device}, where results vary")
        elif settings["threads"] not in ("auto", used.threads):
            differences.append(f"it was {verb} with threads: {used.threads}")
    if made.weights is not None and made.weights != (weights := model_identity(settings)):
        differences.append(f"it was made with {made.weights}, and here is {weights}")
    return [printable(line)[:_MAX_LINE] for line in differences]
