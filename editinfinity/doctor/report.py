"""Runs all checks, and formats their findings for the terminal."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from editinfinity.config.load import Config
from editinfinity.doctor import configuration, machine, packages, slurm, weights
from editinfinity.doctor.findings import Finding, Severity, fault, works
from editinfinity.planning.user_environment import Replacement


def run_checks(folder: Path, replaced: Sequence[Replacement] = ()) -> list[Finding]:
    """Check everything that a run started in ``folder`` needs.

    Args:
        folder: the current folder.
        replaced: environment variables that this command has replaced for its process.
    """
    findings = [*_run("Python", packages.check_python), *_run("packages", packages.check_packages)]
    findings += _run("environment", machine.check_environment, replaced)
    config: Config | None = None

    def load() -> Iterator[Finding]:
        nonlocal config
        config, found = configuration.check_config(folder)
        yield from found

    findings += _run("configuration", load)
    if config is not None:
        findings += _run("weights", weights.check_weights, config)
        findings += _run("GPU", machine.check_gpus, config)
        findings += _run("gpu limit", configuration.check_gpu_limit, folder)
        findings += _run("writing", machine.check_folders, folder, config)
    findings += _run("SLURM", slurm.check_slurm, folder)
    return findings


def _run(subject: str, check: Callable[..., Iterable[Finding]], *arguments: Any) -> list[Finding]:
    """Return the findings of a check; a check that raises an error is itself a fault."""
    try:
        return list(check(*arguments))
    except Exception as error:  # a broken installation may raise any exception
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        return [fault(subject, f"the check itself failed ({reason})")]


def format_findings(findings: Iterable[Finding], width: int | None = None) -> str:
    """Format the findings as lines, followed by the verdict."""
    findings = list(findings)
    columns = width or max(60, shutil.get_terminal_size().columns)
    left = max(len(finding.subject) for finding in findings) + 2
    lines = []
    for finding in findings:
        head = f"{finding.severity.value:<7}{finding.subject:<{left}}"
        lines += textwrap.wrap(
            finding.text,
            columns,
            initial_indent=head,
            subsequent_indent=" " * len(head),
            break_on_hyphens=False,
            break_long_words=False,
        )
    count = sum(finding.severity is Severity.FAULT for finding in findings)
    verdict = "A run would work." if works(findings) else f"A run would fail; faults: {count}."
    return "\n".join([*lines, "", verdict])
