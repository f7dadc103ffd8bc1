"""Checks SLURM if installed: its GPUs, Snakemake's plugin, and jobs left by a killed run."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from editinfinity.doctor.findings import Finding, note
from editinfinity.planning.cluster import unfinished_jobs

_SUBJECT = "SLURM"
_TIMEOUT = 30  # seconds


def check_slurm(folder: Path) -> Iterator[Finding]:
    """Check what SLURM offers to a run in ``folder``; never a fault, as runs work without SLURM."""
    if shutil.which("sinfo") is None:
        yield Finding(_SUBJECT, "not installed")
        return
    command = ["sinfo", "--noheader", "--Node", "--format=%N|%P|%G|%T"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT)
    except subprocess.TimeoutExpired:
        yield note(_SUBJECT, f"sinfo did not answer in {_TIMEOUT} s; ask the administrators")
        return
    if done.returncode:
        reason = " ".join(done.stderr.split())[:120]
        yield note(_SUBJECT, f"sinfo failed ({reason}); local runs still work")
        return
    yield from _nodes([line.split("|") for line in done.stdout.splitlines() if "|" in line])
    if importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
        yield note(_SUBJECT, "Snakemake cannot submit jobs; pip install 'editinfinity[slurm]'")
    if inside := os.environ.get("SLURM_JOB_ID"):
        gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "none")
        yield Finding("allocation", f"job {inside}, GPUs {gpus}")
    if left := unfinished_jobs(folder):
        jobs = " ".join(left)
        yield note("jobs", f"{jobs} of an earlier run here have not ended; wait, or scancel {jobs}")


def _nodes(rows: list[list[str]]) -> Iterator[Finding]:
    """Report the nodes and GPUs of each partition."""
    nodes, up, gpus = Counter[str](), Counter[str](), Counter[str]()
    for _, partition, gres, state in rows:
        name = partition.rstrip("*")
        nodes[name] += 1
        up[name] += state.rstrip("*~#!%$@^-+") in ("idle", "mixed", "allocated", "completing")
        gpus[name] += sum(map(int, re.findall(r"gpu(?::[^:,(]+)?:(\d+)", gres)))
    for name in sorted(nodes):
        text = f"partition {name}: {up[name]} of {nodes[name]} nodes up, {gpus[name]} GPUs"
        if gpus[name] and up[name]:
            yield Finding(_SUBJECT, text)
        elif not gpus[name]:
            yield note(_SUBJECT, f"{text}; GPU jobs would wait there forever")
        else:
            yield note(_SUBJECT, f"{text}; its jobs would wait")
