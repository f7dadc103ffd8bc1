"""Location of the workflow files, and environment variables shared by its processes (no torch)."""

from __future__ import annotations

import os
from pathlib import Path

from editinfinity.errors import UserError

PACKAGE = Path(__file__).resolve().parent
"""Folder of the package ``editinfinity``."""


def workflow_root() -> Path:
    """Return the folder that contains Snakefile, rules, scripts, envs, profiles and config.yaml.

    Raises:
        UserError: the package was installed without its workflow.
    """
    for root in (PACKAGE / "_workflow", PACKAGE.parent):
        if (root / "Snakefile").is_file() and (root / "rules").is_dir():
            return root
    raise UserError(f"{PACKAGE}: contains no workflow; install editinfinity again, or use a clone")


JOBS_AT_ONCE = "EDITINFINITY_JOBS_AT_ONCE"
"""Environment variable with the number of model jobs a workflow may run at once on this machine."""


def jobs_at_once() -> int:
    """Return the value of the environment variable ``JOBS_AT_ONCE``, or 1 if it is not set."""
    value = os.environ.get(JOBS_AT_ONCE, "")
    return max(1, int(value)) if value.isdecimal() else 1


ERROR_FILE = "EDITINFINITY_ERROR_FILE"
"""Environment variable with the file to which the workflow writes errors for the user, one a line.

The command that started Snakemake shows them, rather than the other output of Snakemake."""
