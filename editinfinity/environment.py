"""Where the workflow files are, and what its processes share or may use. Does not import torch."""

from __future__ import annotations

import functools
import math
import os
from contextlib import suppress
from dataclasses import dataclass
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


CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""File in which Linux shows a container its CPU quota.

It contains the microseconds of CPU per period (or "max") and the period.
"""


def available_cores() -> int:
    """Return the number of cores this process may use.

    This is the CPU affinity (as a cluster sets it for a job), or the container's quota if lower.
    """
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        cores = os.cpu_count() or 1
    with suppress(OSError, ValueError):  # no such file, or "max": no limit
        share, period = CPU_QUOTA.read_text(encoding="ascii").split()
        cores = min(cores, math.ceil(int(share) / int(period)))
    return max(1, cores)


_COMPUTING_PACKAGES = ("editinfinity", "numpy", "pillow", "torch", "transformers")


@dataclass(frozen=True)
class Environment:
    """What a picture was drawn or trained with, besides settings, that decides its last bits.

    Attributes:
        device: type of the device, such as ``cpu`` or ``cuda``.
        threads: number of CPU threads.
        versions: see ``package_versions``.
    """

    device: str
    threads: int
    versions: str


@functools.cache
def package_versions() -> str:
    """Return the versions of the packages that compute a picture: ``editinfinity 0.2.0, …``."""
    # Imported here, since every job of the workflow imports this module, and few need it.
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for package in _COMPUTING_PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:  # such as this one, run from a source checkout
            continue
    return ", ".join(found)


ERROR_FILE = "EDITINFINITY_ERROR_FILE"
"""Environment variable with the file to which the workflow writes errors for the user, one a line.

The command that started Snakemake shows them, rather than the other output of Snakemake."""


def let_idle_threads_sleep() -> None:
    """Make CPU threads that wait for others sleep, unless the user has chosen otherwise.

    By default they try again and again for a while, which takes the cores from other work: beside
    one busy process, training on two cores took 3 to 8 times as long, and 1.4 times with sleeping
    threads. Alone it takes equally long. Importing NumPy on 32 cores takes 2 s of processor time by
    the threads of its BLAS, which are not needed then, and 0.1 s without them.

    The libraries read the variables when they are loaded, so this is for the processes that are
    started later, and for this one if it has imported neither PyTorch nor NumPy yet.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["OMP_WAIT_POLICY"] = "passive"
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")  # the least: 2⁴ turns of a loop
