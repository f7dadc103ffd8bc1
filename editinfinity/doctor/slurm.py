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
_SECONDS = 30


def look(folder: Path) -> Iterator[Finding]:
    """Check what SLURM offers to a run in ``folder``; never a fault, as runs work without SLURM."""
    if shutil.which("sinfo") is None:
        yield Finding(_SUBJECT, "none here")
        return
    command = ["sinfo", "--noheader", "--Node", "--format=%N|%P|%G|%T"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        yield note(_SUBJECT, f"sinfo gave no answer in {_SECONDS} s; ask the cluster's people")
        return
    if done.returncode:
        reason = " ".join(done.stderr.split())[:120]
        yield note(_SUBJECT, f"is installed but does not answer ({reason}); local runs work")
        return
    yield from _nodes([line.split("|") for line in done.stdout.splitlines() if "|" in line])
    if importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
        yield note(_SUBJECT, "Snakemake cannot submit; pip install 'editinfinity[slurm]'")
    if inside := os.environ.get("SLURM_JOB_ID"):
        cards = os.environ.get("CUDA_VISIBLE_DEVICES", "none")
        yield Finding("allocation", f"job {inside}, GPUs {cards}")
    if left := unfinished_jobs(folder):
        jobs = " ".join(left)
        yield note("jobs", f"{jobs} of an earlier run here are not over; wait, or scancel {jobs}")


def _nodes(rows: list[list[str]]) -> Iterator[Finding]:
    """Report the nodes and GPUs of each partition."""
    nodes, up, cards = Counter[str](), Counter[str](), Counter[str]()
    for _, partition, gres, state in rows:
        name = partition.rstrip("*")
        nodes[name] += 1
        up[name] += state.rstrip("*~#!%$@^-+") in ("idle", "mixed", "allocated", "completing")
        cards[name] += sum(map(int, re.findall(r"gpu(?::[^:,(]+)?:(\d+)", gres)))
    for name in sorted(nodes):
        text = f"partition {name}: {up[name]} of {nodes[name]} nodes up, {cards[name]} GPUs"
        if cards[name] and up[name]:
            yield Finding(_SUBJECT, text)
        elif not cards[name]:
            yield note(_SUBJECT, f"{text}; GPU jobs would wait for ever there")
        else:
            yield note(_SUBJECT, f"{text}; its jobs would wait")
