"""The steps of studies: an argument that chooses them, and processes that share one."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence


def add_steps(parser: argparse.ArgumentParser, steps: Sequence[str]) -> None:
    """Add the argument ``steps``: any number of these; an unknown one ends the program in a line.

    ``choices`` cannot be used: with any number of values, argparse tests the empty list too.
    """

    def step(text: str) -> str:
        if text not in steps:
            raise argparse.ArgumentTypeError(f"unknown step {text}; choose from {', '.join(steps)}")
        return text

    parser.add_argument("steps", nargs="*", metavar="STEP", type=step, help=", ".join(steps))


def add_processes(parser: argparse.ArgumentParser) -> None:
    """Add the argument ``processes``, and ``part``, which :func:`run_parts` passes to each."""
    parser.add_argument("--processes", type=int, default=1, help="processes that share the edits")
    parser.add_argument("--part", type=int, nargs=2, help=argparse.SUPPRESS)


def run_parts(module: str, arguments: Sequence[object], processes: int) -> None:
    """Run a module in several processes at once, each with its ``--part NUMBER PROCESSES``.

    Each computes with one CPU thread: with as many as there are cores, the threads of all processes
    wait for one another, and measurements on the CPU take many times as long.

    Raises:
        SystemExit: a process failed.
    """
    command = [sys.executable, "-m", module, *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen([*command, "--part", str(part), str(processes)], env=environment)
        for part in range(processes)
    ]
    if failed := sum(process.wait() != 0 for process in running):
        raise SystemExit(f"{failed} of {len(running)} processes failed")
