"""What works in a case but is probably not meant: told from the files a run leaves behind."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from editinfinity.files.masks import MARKS
from editinfinity.workflow.cases import Case, Cases
from editinfinity.workflow.config import Config
from editinfinity.workflow.job import DOUBT
from editinfinity.workflow.plan import layout


def doubts_of(folder: Path, kernels: Mapping[str, Iterable[str]]) -> list[str]:
    """A line for each doubt about a case.

    A changed mask does not run ``check`` again, whose word on masks counts only until there are
    kernels.

    Args:
        folder: ``results/CASE``.
        kernels: of ``kernels_of``.
    """
    told, of_kernels = _of_check(folder / "check.json"), _of_kernels(folder, kernels)
    if of_kernels is not None:
        told = [line for line in told if MARKS not in line] + of_kernels
    return list(dict.fromkeys(told))


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
            lines += [f"{case.name}, {edit}: {line}" for line in found if MARKS in line]
    return list(dict.fromkeys(lines))


def _of_kernels(folder: Path, kernels: Mapping[str, Iterable[str]]) -> list[str] | None:
    """What the logs of kernels say; None where there is none yet."""
    logs = [
        folder / "logs" / "mask" / edit / f"kernel-{smoothing}.log"
        for edit, smoothings in kernels.items()
        for smoothing in smoothings
    ]
    there = [path for path in logs if path.is_file()]
    return [line for path in there for line in _of_log(path)] if there else None


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
