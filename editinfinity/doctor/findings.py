"""What an examination finds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Outcome(Enum):
    """How grave a finding is; only a fault keeps a run from working."""

    WELL = "ok"
    NOTE = "note"
    FAULT = "FAULT"


@dataclass(frozen=True)
class Finding:
    """One line of the examination.

    Attributes:
        subject: what was looked at, a word or two.
        text: what was seen; for a fault or a note also the cure.
        outcome: how grave it is.
    """

    subject: str
    text: str
    outcome: Outcome = Outcome.WELL


def note(subject: str, text: str) -> Finding:
    """A finding worth knowing."""
    return Finding(subject, text, Outcome.NOTE)


def fault(subject: str, text: str) -> Finding:
    """A finding that keeps a run from working."""
    return Finding(subject, text, Outcome.FAULT)


def works(findings: Iterable[Finding]) -> bool:
    """Whether a run would work."""
    return all(finding.outcome is not Outcome.FAULT for finding in findings)
