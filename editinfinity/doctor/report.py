"""Runs all checks, and formats their findings for the terminal."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from editinfinity.config.load import Config
from editinfinity.doctor import configuration, machine, packages, slurm, weights
from editinfinity.doctor.findings import Finding, Outcome, fault, works


def examine(folder: Path) -> list[Finding]:
    """Check everything that a run started in ``folder`` needs."""
    findings = [*_tried("Python", packages.python), *_tried("packages", packages.versions)]
    config: Config | None = None

    def plan() -> Iterator[Finding]:
        nonlocal config
        config, found = configuration.read(folder)
        yield from found

    findings += _tried("configuration", plan)
    if config is not None:
        findings += _tried("weights", weights.look, config)
        findings += _tried("GPU", machine.gpus, config)
        findings += _tried("gpu cap", configuration.cap, folder)
        findings += _tried("writing", machine.places, folder, config)
    findings += _tried("SLURM", slurm.look, folder)
    return findings


def _tried(subject: str, look: Callable[..., Iterable[Finding]], *arguments: Any) -> list[Finding]:
    """Return the findings of a check; a check that raises an error is itself a fault."""
    try:
        return list(look(*arguments))
    except Exception as error:  # a broken installation may raise any exception
        what = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        return [fault(subject, f"could not be looked at ({what})")]


def screen(findings: Iterable[Finding], width: int | None = None) -> str:
    """Format the findings as lines, followed by the verdict."""
    findings = list(findings)
    columns = width or max(60, shutil.get_terminal_size().columns)
    left = max(len(finding.subject) for finding in findings) + 2
    lines = []
    for finding in findings:
        head = f"{finding.outcome.value:<7}{finding.subject:<{left}}"
        lines += textwrap.wrap(
            finding.text,
            columns,
            initial_indent=head,
            subsequent_indent=" " * len(head),
            break_on_hyphens=False,
            break_long_words=False,
        )
    count = sum(finding.outcome is Outcome.FAULT for finding in findings)
    verdict = "A run would work." if works(findings) else f"A run would fail: {count} to mend."
    return "\n".join([*lines, "", verdict])
