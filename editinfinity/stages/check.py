"""Stage ``check``: validate all user inputs of a case before any expensive stage runs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from editinfinity.errors import UserError
from editinfinity.files.atomic import write_json
from editinfinity.files.blends import read_blend
from editinfinity.files.geometry import Geometry, Size
from editinfinity.files.images import read_image, schedule_for, size_of
from editinfinity.files.masks import read_mask
from editinfinity.files.photograph import read_photograph
from editinfinity.files.prompts import read_prompt, read_target_word
from editinfinity.jobs.record import INPUT, MASK, JobWarning
from editinfinity.method.prompt_changes import require_comparable
from editinfinity.prompts import find_word, source_prompt_missing
from editinfinity.settings.groups import NEED_SOURCE_PROMPT, GuidanceSettings, MaskSettings

log = logging.getLogger(__name__)

MIN_CROP_LOSS = 0.25
"""Share of the photograph outside the model's crop from which the report contains a warning."""

T = TypeVar("T")


@dataclass(frozen=True)
class EditInput:
    """User inputs of one edit of a case.

    A text is either the ``Path`` of a UTF-8 file or the text itself (if it comes from a table).

    Attributes:
        name: name of the edit.
        prompt: the edit prompt, which describes the edited image.
        mask: file of the mask; None if the edit uses no mask.
        target_word: word of the source prompt to segment; None if the edit uses none.
        settings: settings for reading the mask.
        blend: file of the user's own blend mask; None if the edit uses none.
        from_prompts: whether the place is found by comparing the two prompts.
        guidance: how the prompts decide the bits of the edit.
    """

    name: str
    prompt: Path | str
    mask: Path | None = None
    target_word: Path | str | None = None
    settings: MaskSettings = MaskSettings()
    blend: Path | None = None
    from_prompts: bool = False
    guidance: str = GuidanceSettings.guidance


@dataclass(frozen=True)
class CaseReport:
    """Result of ``check_case``.

    Attributes:
        case: name of the case.
        image_size: (height, width) in pixels, after applying the EXIF orientation.
        ratio: the supported ratio nearest to the photograph's, height over width.
        edits: names of the checked edits.
        warnings: valid inputs that are probably unintended, one line each.
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
    """Check the inputs of a case and write a report as JSON.

    Every fault is logged on a separate line.

    Args:
        case: name of the case, for messages.
        image: file of the photograph.
        source_prompt: description of the photograph; None is treated as an empty prompt.
        edits: the edits of the case.
        output: JSON file for the report.
        faults: faults that are already known, one line each; they are reported with the others.

    Raises:
        UserError: an input is faulty; the message lists all faults.
    """
    inspection = _Inspection(list(faults))
    picture = inspection.attempt(lambda: read_image(image))
    size = size_of(picture) if picture is not None else None
    prompt = ""
    if source_prompt is not None:
        text = inspection.attempt(
            lambda: read_prompt(source_prompt, what="source prompt", may_be_empty=True)
        )
        prompt = text or ""
    for edit in edits:
        inspection.inspect(edit, image, size, prompt)
    for fault in inspection.faults:
        log.error("%s", fault)
    if inspection.faults or picture is None or size is None:
        raise UserError(f"case {case}: " + "; ".join(inspection.faults))
    schedule = schedule_for(size, "1M")
    for message in read_photograph(image).warnings:
        inspection.warn(message)
    outside = 1 - _share_in_view(size, schedule.image_size)
    if outside >= MIN_CROP_LOSS:
        inspection.warn(
            f"{image}: {outside:.0%} of it, at its ends, is outside the widest shape the model "
            "generates and stays unchanged"
        )
    names = tuple(edit.name for edit in edits)
    texts = tuple(warning.text for warning in inspection.warnings)
    report = CaseReport(case, size, schedule.ratio, names, texts)
    for warning in inspection.warnings:
        log.warning("%s", warning.text, extra={"about": warning.about})
    write_json(output, asdict(report))
    return report


class _Inspection:
    """Collects all faults and warnings, instead of stopping at the first fault."""

    def __init__(self, faults: list[str]) -> None:
        self.faults, self.warnings = faults, list[JobWarning]()

    def warn(self, text: str, about: str = INPUT) -> None:
        """Record a warning about a valid input that is probably unintended."""
        self.warnings.append(JobWarning(text, about))

    def attempt(self, check: Callable[[], T]) -> T | None:
        """Return the result of ``check``, or record its ``UserError`` and return None."""
        try:
            return check()
        except UserError as fault:
            if str(fault) not in self.faults:
                self.faults.append(str(fault))
            return None

    def inspect(self, edit: EditInput, image: Path, size: Size | None, source_prompt: str) -> None:
        """Check the texts and the mask of one edit; the mask only if ``size`` is known."""
        prompt = self.attempt(lambda: read_prompt(edit.prompt, what="edit prompt"))
        if edit.guidance in NEED_SOURCE_PROMPT and not source_prompt:
            self.faults.append(f"edit {edit.name}: {source_prompt_missing(edit.guidance)}")
        elif prompt is not None and edit.from_prompts:
            self.attempt(lambda: require_comparable(source_prompt, prompt, f"edit {edit.name}"))
        elif prompt is not None and prompt == source_prompt:
            self.warn(f"{edit.name}: the edit prompt equals the source prompt")
        if edit.target_word is not None:
            target_word = edit.target_word
            word = self.attempt(lambda: read_target_word(target_word))
            origin = str(target_word) if isinstance(target_word, Path) else "target word"
            if word is not None:
                self.attempt(lambda: find_word(source_prompt, word, origin))
        if edit.mask is not None and size is not None:
            path, region, notices = edit.mask, edit.settings.mask_edit_region, list[str]()
            self.attempt(
                lambda: read_mask(path, size, region, edit.settings.mask_grow, image, notices)
            )
            for notice in notices:
                self.warn(notice, MASK)
        if edit.blend is not None and size is not None:
            blend, grid = edit.blend, schedule_for(size, "1M").reference_grid
            self.attempt(lambda: read_blend(blend, grid))


def _share_in_view(size: Size, model_size: Size) -> float:
    """Return the share of a photograph's pixels inside the model's crop."""
    geometry = Geometry.fit(size, model_size)
    return geometry.height * geometry.width / (size[0] * size[1])
