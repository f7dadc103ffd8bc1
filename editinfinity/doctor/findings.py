"""The findings of the checks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Severity(Enum):
    """Severity of a finding; only a fault prevents a run from working."""

    OK = "ok"
    NOTE = "note"
    FAULT = "FAULT"


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        subject: what was checked, in one or two words.
        text: what was found; for a fault or a note, also how to fix it.
        severity: how serious it is.
    """

    subject: str
    text: str
    severity: Severity = Severity.OK


def note(subject: str, text: str) -> Finding:
    """Return a finding with the severity ``NOTE``: useful to know, but not an obstacle."""
    return Finding(subject, text, Severity.NOTE)


def fault(subject: str, text: str) -> Finding:
    """Return a finding with the severity ``FAULT``: it prevents a run from working."""
    return Finding(subject, text, Severity.FAULT)


def works(findings: Iterable[Finding]) -> bool:
    """Whether a run would work: there is no fault among the findings."""
    return all(finding.severity is not Severity.FAULT for finding in findings)
