"""Collects the warnings of a case from its job records: what works but may be unintended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from editinfinity.cases.case import Case, Cases
from editinfinity.config.load import Config
from editinfinity.jobs.record import MASK, JobRecord, JobWarning, read_record
from editinfinity.planning.targets import layout
from editinfinity.settings.guidance import values_of


def warnings_of(records: Iterable[JobRecord], kernels: Mapping[str, Iterable[str]]) -> list[str]:
    """Return the warnings of a case, one line each.

    A changed mask does not rerun ``check``. Therefore the mask warnings of ``check`` are returned
    only until kernels exist, and from then on those of the kernel jobs.

    Args:
        records: the records of its jobs.
        kernels: the result of ``kernels_of``.
    """
    warnings = {record.job: record.all(JobWarning) for record in records}
    kernel_jobs = [job for jobs in _jobs_of(kernels).values() for job in jobs if job in warnings]
    selected = [warning for warning in warnings.get("check", ()) if warning.about]
    if kernel_jobs:
        selected = [warning for warning in selected if warning.about != MASK]
        selected += [warning for job in kernel_jobs for warning in warnings[job]]
    return list(dict.fromkeys(warning.text for warning in selected))


def kernels_of(case: Case) -> dict[str, tuple[str, ...]]:
    """Return edit → its ``smoothing`` values, for the edits that use a mask or a target word."""
    masked = [edit for edit in case.edits.values() if edit.mask_source != "none"]
    return {edit.name: values_of(edit.settings, "smoothing") for edit in masked}


def mask_warnings(config: Config, cases: Cases) -> list[str]:
    """Return one line for each mask that selects nothing, or everything, for editing."""
    lines = []
    for case in cases.by_name.values():
        logs = Path(layout(config, case.name).folder, "logs")
        for edit, jobs in _jobs_of(kernels_of(case)).items():
            records = filter(None, (read_record(logs, job) for job in jobs))
            found = [w for record in records for w in record.all(JobWarning) if w.about == MASK]
            lines += [f"{case.name}, {edit}: {w.text}" for w in found]
    return list(dict.fromkeys(lines))


def _jobs_of(kernels: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """Return edit → the names of the jobs that make its kernels."""
    return {
        edit: [f"mask/{edit}/kernel-{smoothing}" for smoothing in smoothings]
        for edit, smoothings in kernels.items()
    }
