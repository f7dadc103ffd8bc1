"""The argument of studies that run in steps."""

from __future__ import annotations

import argparse
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
