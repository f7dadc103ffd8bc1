"""What the page tells, as plain data that JSON can carry; the page's script reads these names.

Links are relative to the page and percent-encoded. Places in a photograph are shares of its width
and height, so that they hold for a picture of any size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Box = tuple[float, float, float, float]
"""left, top, width, height of a part of a photograph, as shares of it."""

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class Stage:
    """What one kind of job took.

    Attributes:
        name: what it is called on the page.
        seconds: of all its jobs together.
        memory, card: most bytes of RAM, and of the card's memory; None where nobody looked.
        jobs: how many there were.
    """

    name: str
    seconds: float
    memory: int | None
    card: int | None
    jobs: int


@dataclass(frozen=True)
class Curve:
    """A loss that was trained down.

    Attributes:
        name: of what was trained.
        points: (iteration, loss), in order.
    """

    name: str
    points: list[tuple[int, float]]


@dataclass(frozen=True)
class Variant:
    """One picture of an edit.

    Attributes:
        name: its file name, without ending.
        label: what sets it apart from the others; empty for the only one.
        link: the picture at the model's size.
        settings: everything that made it.
        metrics: name → value, None where it could not be computed.
        missing: name → why there is no value.
        chosen: whether it is the one at the photograph's size.
        smoothing: whose kernel it was drawn with, or None.
        box: the part of the photograph it shows.
    """

    name: str
    label: str
    link: str
    settings: dict[str, Any]
    metrics: dict[str, float | None]
    missing: dict[str, str]
    chosen: bool
    smoothing: str | None
    box: Box


@dataclass(frozen=True)
class EditContent:
    """One edit.

    Attributes:
        name: its name.
        prompt: what it should show; None where it cannot be read.
        outcome: a word of ``workflow.outcomes``.
        reason: why there is no picture; empty if there is.
        mask: where the mask comes from.
        word: the target word, or None.
        link: the picture at the photograph's size, or None.
        made: when (seconds since the epoch), or None.
        box: the part of the photograph that kernel and attention lie over.
        why: why the chosen variant was chosen, where metrics chose it.
        settings: setting → value, where the edit has its own, unlike its case.
        stages, variants: as their classes say.
        files: (label, link) of what else there is to open.
    """

    name: str
    prompt: str | None
    outcome: str
    reason: str
    mask: str
    word: str | None
    link: str | None
    made: float | None
    box: Box
    why: str
    settings: dict[str, Any]
    stages: list[Stage]
    variants: list[Variant]
    files: list[tuple[str, str]]


@dataclass(frozen=True)
class CaseContent:
    """One photograph with its edits.

    Attributes:
        name: the case's name.
        source: what the photograph shows; None where it cannot be read.
        link: the photograph.
        size: (width, height) in pixels, or None.
        warnings: of the check, a line each.
        settings: setting → value, where the case has its own.
        stages: of what its edits share.
    """

    name: str
    source: str | None
    link: str
    size: tuple[int, int] | None
    warnings: list[str]
    settings: dict[str, Any]
    stages: list[Stage]
    curves: list[Curve]
    edits: list[EditContent]


@dataclass(frozen=True)
class Content:
    """The whole page.

    Attributes:
        title: of the page.
        made: when (seconds since the epoch).
        settings: the run's, without what only says where things lie.
        metrics: what the metrics are called, for those that any picture has.
        cases: in the order they run.
        notes: lines about what the page leaves out.
    """

    title: str
    made: float
    settings: dict[str, Any]
    metrics: list[dict[str, Any]]
    cases: list[CaseContent]
    notes: list[str]
