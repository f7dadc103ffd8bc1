"""What works in a case but is probably not meant: the warnings of its jobs, read from records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from editinfinity.cases.case import Case, Cases
from editinfinity.config.load import Config
from editinfinity.jobs.record import MASK, JobWarning, read_record
from editinfinity.planning.targets import layout


def doubts_of(folder: Path, kernels: Mapping[str, Iterable[str]]) -> list[str]:
    """A line for each doubt about a case.

    A changed mask does not run ``check`` again, whose word on masks counts only until there are
    kernels.

    Args:
        folder: ``results/CASE``.
        kernels: of ``kernels_of``.
    """
    told = [warning for warning in _warnings(folder, "check") or [] if warning.about]
    of_kernels = _of_kernels(folder, kernels)
    if of_kernels is not None:
        told = [warning for warning in told if warning.about != MASK] + of_kernels
    return list(dict.fromkeys(warning.text for warning in told))


def kernels_of(case: Case) -> dict[str, tuple[str, ...]]:
    """Edits that go by a mask or a word → the smoothings they ask for."""
    masked = [edit for edit in case.edits.values() if edit.mask_source != "none"]
    return {edit.name: tuple(edit.settings["smoothing"]) for edit in masked}


def doubts_about_masks(config: Config, cases: Cases) -> list[str]:
    """A line for each mask that leaves nothing, or everything, to its edit."""
    lines = []
    for case in cases.by_name.values():
        folder = Path(layout(config, case.name).folder)
        for edit, smoothings in kernels_of(case).items():
            found = _of_kernels(folder, {edit: smoothings}) or []
            lines += [f"{case.name}, {edit}: {each.text}" for each in found if each.about == MASK]
    return list(dict.fromkeys(lines))


def _of_kernels(folder: Path, kernels: Mapping[str, Iterable[str]]) -> list[JobWarning] | None:
    """The warnings of kernels; None where none has been made yet."""
    found = [
        _warnings(folder, f"mask/{edit}/kernel-{smoothing}")
        for edit, smoothings in kernels.items()
        for smoothing in smoothings
    ]
    there = [warnings for warnings in found if warnings is not None]
    return [warning for warnings in there for warning in warnings] if there else None


def _warnings(folder: Path, job: str) -> list[JobWarning] | None:
    """The warnings of a job; None where it has no record."""
    record = read_record(folder / "logs", job)
    return None if record is None else record.all(JobWarning)
