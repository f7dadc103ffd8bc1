"""Checks whether a run would work on this machine. Each module checks one subject."""

from editinfinity.doctor.findings import Finding, Severity, works
from editinfinity.doctor.report import format_findings, run_checks

__all__ = ["Finding", "Severity", "format_findings", "run_checks", "works"]
