"""Cluster jobs that outlive their run, and case names that cluster jobs cannot handle.

After Snakemake has been killed, its SLURM jobs keep running and it no longer knows about them. A
second run would submit their targets again, so that two jobs would write the same file.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

from editinfinity.cases.case import Cases
from editinfinity.errors import UserError
from editinfinity.names import printable

_RUN_NAME = re.compile(r"(?:\w[\w-]*_)?[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""Job names that Snakemake's SLURM executor uses: the UUID of the run, optionally with a prefix."""

_QUERY_TIMEOUT = 30
"""Timeout of a query to SLURM's controller, in seconds."""


def cases_for_cluster(cases: Cases) -> Cases:
    """Return the cases whose names are safe in cluster jobs, with a notice for each one skipped.

    Snakemake quotes names in the submitted command as Python does. It puts a name that contains
    ``'`` between ``"``, where a shell expands ``$`` and backticks: the command would then name
    another file, or run one.
    """
    usable, notices = {}, list(cases.notices)
    for name, case in cases.by_name.items():
        unsafe = next((text for text in (name, *case.edits) if _unsafe_in_shell(text)), None)
        if unsafe is None:
            usable[name] = case
        else:
            notices.append(
                f"{printable(name)}: skipped, names in cluster jobs cannot contain ' together with "
                f"$ or ` ({printable(unsafe)}); rename it, or run this case without the cluster"
            )
    return replace(cases, by_name=usable, notices=tuple(notices))


def _unsafe_in_shell(name: str) -> bool:
    return "'" in name and ("$" in name or "`" in name)


def refuse_duplicate_jobs(folder: Path) -> None:
    """Refuse to start while SLURM still runs jobs that an earlier run in this folder left behind.

    The check is skipped if another run holds a lock in this folder: that run is alive, and
    Snakemake prevents both from making the same targets.

    Args:
        folder: working directory of Snakemake.

    Raises:
        UserError: there are such jobs.
    """
    locks = list((folder / ".snakemake" / "locks").glob("*.output.lock"))
    if len(locks) > 1:  # one lock belongs to this run
        return
    if jobs_left := unfinished_jobs(folder):
        jobs = " ".join(jobs_left)
        raise UserError(
            f"SLURM: jobs {jobs} of an earlier run in this folder are still active and would run "
            f"twice; wait until they end, or cancel them with: scancel {jobs}"
        )


def unfinished_jobs(folder: Path) -> list[str]:
    """Return the ids of unfinished SLURM jobs that Snakemake submitted from a folder.

    The list is empty if SLURM is not installed or does not answer.
    """
    if shutil.which("squeue") is None:
        return []
    command = ["squeue", "--noheader", f"--user={os.getuid()}", "--format=%i|%j|%Z"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=_QUERY_TIMEOUT)
    except (OSError, subprocess.TimeoutExpired):
        return []
    rows = [line.split("|", 2) for line in result.stdout.splitlines() if line.count("|") >= 2]
    return [
        job
        for job, name, work_dir in rows
        if _RUN_NAME.fullmatch(name) and Path(work_dir).resolve() == folder.resolve()
    ]
