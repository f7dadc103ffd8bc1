"""Checks whether a run would work on this machine. Each module checks one subject."""

from editinfinity.doctor.findings import Finding, Outcome, works
from editinfinity.doctor.report import examine, screen

__all__ = ["Finding", "Outcome", "examine", "screen", "works"]
