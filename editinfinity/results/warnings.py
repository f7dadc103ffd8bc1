"""Collects the warnings of a case from its job records: what works but may be unintended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from editinfinity.cases.case import Case, Cases
from editinfinity.config.load import Config
from editinfinity.jobs.record import MASK, JobRecord, JobWarning, read_record
from editinfinity.planning.targets import layout


def warnings_of(records: Iterable[JobRecord], kernels: Mapping[str, Iterable[str]]) -> list[str]:
    """Return the warnings of a case, one line each.

    A changed mask does not rerun ``check``. Therefore the mask warnings of ``check`` count only
    until kernels exist; from then on, the warnings of the kernel jobs count.

    Args:
        records: the records of its jobs.
        kernels: the result of ``kernels_of``.
    """
    warnings = {record.job: record.all(JobWarning) for record in records}
    made = [job for jobs in _jobs_of(kernels).values() for job in jobs if job in warnings]
    told = [each for each in warnings.get("check", ()) if each.about]
    if made:
        told = [each for each in told if each.about != MASK]
        told += [each for job in made for each in warnings[job]]
    return list(dict.fromkeys(each.text for each in told))


def kernels_of(case: Case) -> dict[str, tuple[str, ...]]:
    """Return edit → its ``smoothing`` values, for the edits that use a mask or a target word."""
    masked = [edit for edit in case.edits.values() if edit.mask_source != "none"]
    return {edit.name: tuple(edit.settings["smoothing"]) for edit in masked}


def mask_warnings(config: Config, cases: Cases) -> list[str]:
    """Return one line for each mask that selects nothing, or everything, for editing."""
    lines = []
    for case in cases.by_name.values():
        logs = Path(layout(config, case.name).folder, "logs")
        for edit, jobs in _jobs_of(kernels_of(case)).items():
            records = filter(None, (read_record(logs, job) for job in jobs))
            found = [each for record in records for each in record.all(JobWarning)]
            lines += [f"{case.name}, {edit}: {each.text}" for each in found if each.about == MASK]
    return list(dict.fromkeys(lines))


def _jobs_of(kernels: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """Return edit → the names of the jobs that make its kernels."""
    return {
        edit: [f"mask/{edit}/kernel-{smoothing}" for smoothing in smoothings]
        for edit, smoothings in kernels.items()
    }
