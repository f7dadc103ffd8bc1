"""Would a run work here? Each module looks at one kind of thing, and tells it in a few lines."""

from editinfinity.doctor.findings import Finding, Outcome, works
from editinfinity.doctor.report import examine, screen

__all__ = ["Finding", "Outcome", "examine", "screen", "works"]
