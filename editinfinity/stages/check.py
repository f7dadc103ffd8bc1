"""Stage ``check``: look at everything the user gave for a case before anything expensive runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class EditInput:
    """What the user gave for one edit of a case.

    Texts are a ``Path`` of a UTF-8 file, or the text itself (as a table gives it).

    Attributes:
        name: the edit's name.
        prompt: what the edited image shows.
        mask: the mask's file; None where the edit uses none.
        target_word: word of the source prompt to segment; None where the edit uses none.
        mask_edit_region: ``black`` or ``white``: the side of the mask that is edited.
    """

    name: str
    prompt: Path | str
    mask: Path | None = None
    target_word: Path | str | None = None
    mask_edit_region: str = "black"


@dataclass(frozen=True)
class CaseReport:
    """What ``check_case`` saw.

    Attributes:
        case: the case's name.
        image_size: (height, width) in pixels, after EXIF orientation.
        ratio: nearest of the model's ratios, height over width.
        edits: names of the edits that were looked at.
        warnings: things that work but are probably not meant, one line each.
    """

    case: str
    image_size: tuple[int, int]
    ratio: float
    edits: tuple[str, ...]
    warnings: tuple[str, ...]


def check_case(
    *,
    case: str,
    image: Path,
    source_prompt: Path | str | None,
    edits: Sequence[EditInput],
    output: Path,
    faults: Sequence[str] = (),
) -> CaseReport:
    """Check the inputs of a case and write what was seen as JSON.

    Every fault is logged as a line of its own.

    Args:
        case: the case's name, for messages.
        image: the photograph.
        source_prompt: describes the photograph; None where there is none (then it is empty).
        edits: the case's edits.
        output: JSON file of the report.
        faults: what is already known to be wrong, a line each; reported with the rest.

    Raises:
        UserError: something is wrong; the message carries all faults.
    """
    raise NotImplementedError
