"""What works in a case but is probably not meant: told from the files a run leaves behind."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from editinfinity.files.masks import MARKS
from editinfinity.workflow.cases import Case, Cases
from editinfinity.workflow.config import Config
from editinfinity.workflow.job import DOUBT
from editinfinity.workflow.plan import layout


def doubts_of(folder: Path, edits: Iterable[str]) -> list[str]:
    """A line for each doubt about a case.

    A changed mask does not run ``check`` again, whose word on masks counts only until there are
    kernels.

    Args:
        folder: ``results/CASE``.
        edits: names of its edits that go by a mask or a word.
    """
    logs = [_newest_kernel_log(folder, edit) for edit in edits]
    told = _of_check(folder / "check.json")
    if None not in logs:
        told = [line for line in told if MARKS not in line]
    told += [line for log in logs if log is not None for line in _of_log(log)]
    return list(dict.fromkeys(told))


def masked_edits(case: Case) -> list[str]:
    """Names of the edits that go by a mask or a word."""
    return [edit.name for edit in case.edits.values() if edit.mask_source != "none"]


def doubts_about_masks(config: Config, cases: Cases) -> list[str]:
    """A line for each mask that leaves nothing, or everything, to its edit."""
    lines = []
    for case in cases.by_name.values():
        folder = Path(layout(config, case.name).folder)
        for edit in masked_edits(case):
            found = doubts_of(folder, [edit])
            lines += [f"{case.name}, {edit}: {line}" for line in found if MARKS in line]
    return lines


def _newest_kernel_log(folder: Path, edit: str) -> Path | None:
    """Of the kernels of an edit, one a smoothing: the newest knows the mask as it is."""
    logs = (folder / "logs" / "mask" / edit).glob("kernel-*.log")
    return max(logs, key=lambda path: path.stat().st_mtime, default=None)


def _of_log(path: Path) -> list[str]:
    with suppress(OSError):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        return [line.partition(DOUBT)[2] for line in lines if DOUBT in line]
    return []


def _of_check(path: Path) -> list[str]:
    with suppress(OSError, ValueError, RecursionError, KeyError, TypeError):
        found = json.loads(path.read_text("utf-8"))["warnings"]
        return [str(line) for line in found] if isinstance(found, list) else []
    return []
