"""Environment variables by which the workflow and its jobs understand each other; free of torch."""

import os

JOBS_AT_ONCE = "EDITINFINITY_JOBS_AT_ONCE"
"""How many model jobs of a workflow may run at once on this machine."""


def jobs_at_once() -> int:
    """The number of ``JOBS_AT_ONCE``; one where it is not set."""
    value = os.environ.get(JOBS_AT_ONCE, "")
    return max(1, int(value)) if value.isdecimal() else 1
