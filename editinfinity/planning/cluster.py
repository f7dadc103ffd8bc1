"""A cluster's jobs that outlive the run which submitted them, and names that they cannot carry.

Snakemake knows nothing of SLURM jobs after it was killed: they work on, and a second run would
submit their targets again, two jobs writing one file.
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
"""How Snakemake's executor names its jobs: by the run's UUID, perhaps with a prefix."""

_SECONDS = 30
"""How long SLURM's controller may think about a question."""


def fit_for_cluster(cases: Cases) -> Cases:
    """The cases whose names can travel to a cluster; a notice for each that is passed over.

    Snakemake quotes names for the submitted command as Python does. A name with ``'`` comes in
    ``"``, between which a shell reads ``$`` and backticks: it would name another file, or run one.
    """
    fit, notices = {}, list(cases.notices)
    for name, case in cases.by_name.items():
        bad = next((each for each in (name, *case.edits) if _misread_by_a_shell(each)), None)
        if bad is None:
            fit[name] = case
        else:
            notices.append(
                f"{printable(name)}: skipped, a cluster's job cannot carry ' together with $ or ` "
                f"in a name ({printable(bad)}); rename it, or run this case without the cluster"
            )
    return replace(cases, by_name=fit, notices=tuple(notices))


def _misread_by_a_shell(name: str) -> bool:
    return "'" in name and ("$" in name or "`" in name)


def refuse_second_copies(folder: Path) -> None:
    """Refuse to start while SLURM still runs jobs that a run of this folder left behind.

    Not where another run holds a lock here: it is alive, and Snakemake keeps their targets apart.

    Args:
        folder: where Snakemake runs.

    Raises:
        UserError: there are such jobs.
    """
    locks = list((folder / ".snakemake" / "locks").glob("*.output.lock"))
    if len(locks) > 1:  # one is this run's own
        return
    if left := jobs_left_behind(folder):
        jobs = " ".join(left)
        raise UserError(
            f"SLURM: jobs {jobs} of an earlier run here are not over and would be run twice; wait "
            f"until they are, or end them with: scancel {jobs}"
        )


def jobs_left_behind(folder: Path) -> list[str]:
    """Ids of SLURM jobs that Snakemake submitted from a folder and that are not over.

    None where there is no SLURM, or it does not answer.
    """
    if shutil.which("squeue") is None:
        return []
    command = ["squeue", "--noheader", f"--user={os.getuid()}", "--format=%i|%j|%Z"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return []
    rows = [line.split("|", 2) for line in done.stdout.splitlines() if line.count("|") >= 2]
    return [
        job
        for job, name, place in rows
        if _RUN_NAME.fullmatch(name) and Path(place).resolve() == folder.resolve()
    ]
