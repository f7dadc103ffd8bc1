"""Environment variables by which the workflow and its jobs understand each other; free of torch."""

JOBS_AT_ONCE = "EDITINFINITY_JOBS_AT_ONCE"
"""How many model jobs of a workflow may run at once on this machine."""
