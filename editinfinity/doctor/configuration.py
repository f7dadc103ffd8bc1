"""Checks config.yaml, its cases, and the profile that keeps models from sharing a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import yaml

from editinfinity.cases.load import load_cases
from editinfinity.config.config_file import read_config_file
from editinfinity.config.load import Config, ConfigError, load_config
from editinfinity.doctor.findings import Finding, fault, note
from editinfinity.environment import workflow_root
from editinfinity.errors import UserError
from editinfinity.planning.targets import check_plan

_SUBJECT = "configuration"
_MAX_CASE_NOTES = 3


def check_config(folder: Path) -> tuple[Config | None, list[Finding]]:
    """Load the configuration of a run in ``folder``, and check it and its cases.

    Args:
        folder: the current folder, to which the paths of the configuration are relative.

    Returns:
        The configuration, or None if it cannot be loaded (faulty cases do not matter); and the
        findings.
    """
    try:
        written, path, notices = read_config_file(folder)
        config = load_config(written, source=path.name)
    except ConfigError as error:
        return None, [fault(_SUBJECT, line) for line in error.lines]
    return config, [*(note(_SUBJECT, line) for line in notices), *_check_cases(config)]


def _check_cases(config: Config) -> Iterator[Finding]:
    """Load the cases; what keeps only some of them from being edited is a note, not a fault."""
    try:
        cases = load_cases(config)
        check_plan(config, cases)
    except ConfigError as error:
        yield from (fault(_SUBJECT, line) for line in error.lines)
        if config.table is None and not Path(config.data).exists():
            yield note(_SUBJECT, "only run needs cases; edit, batch and app work without")
        return
    except UserError as error:
        yield fault(_SUBJECT, str(error))
        return
    all_cases = cases.by_name.values()
    edits = sum(len(case.edits) for case in all_cases)
    case_faults = [line for case in all_cases for line in case.all_faults()]
    yield Finding(
        _SUBJECT, f"model {config.settings['model']}, {len(all_cases)} cases, {edits} edits to make"
    )
    lines = [*case_faults, *cases.notices]
    yield from (note("cases", line) for line in lines[:_MAX_CASE_NOTES])
    if len(lines) > _MAX_CASE_NOTES:
        yield note("cases", f"and {len(lines) - _MAX_CASE_NOTES} more; a run lists them all")


def check_gpu_limit(folder: Path) -> Iterator[Finding]:
    """Check that a profile limits ``gpu``; without a limit, Snakemake ignores that resource."""
    # Snakemake searches the working directory first, then the folder of the Snakefile.
    for root in (folder, workflow_root()):
        path = root / "profiles" / "default" / "config.yaml"
        if path.is_file():
            limit = _limit(path)
            if limit is None:
                break
            yield Finding("gpu limit", f"GPU jobs at a time: {limit} ({path})")
            return
    yield fault(
        "gpu limit",
        "no profile limits gpu, so all jobs would load models at once; add --resources gpu=1",
    )


def _limit(path: Path) -> int | None:
    """Return the ``gpu`` limit of a profile; None if it has none or cannot be read."""
    try:
        profile = yaml.safe_load(path.read_text("utf-8")) or {}
        resources = profile.get("resources", [])
        pairs = resources.items() if isinstance(resources, dict) else (
            str(item).split("=", 1) for item in resources
        )  # fmt: skip
        return int(dict(pairs)["gpu"])
    except (OSError, ValueError, KeyError, AttributeError, TypeError, yaml.YAMLError):
        return None
