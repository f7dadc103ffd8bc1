"""Load the cases of a run from folders below ``data``, rows of cases.tsv, or a benchmark."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from editinfinity.cases.case import Case, Cases
from editinfinity.cases.folders import find_folders, read_folder
from editinfinity.cases.table import read_table
from editinfinity.config.load import Config, ConfigError
from editinfinity.names import did_you_mean, printable
from editinfinity.presets import preset

LockFiles = Callable[[Iterable[Path]], None]
"""Function that locks the files of cases against changes (``in_use.lock_until_exit``)."""


def load_cases(config: Config, lock_files: LockFiles = lambda paths: None) -> Cases:
    """Load the cases that a configuration selects.

    Args:
        config: the configuration.
        lock_files: called with the files or folders of the cases; the default locks nothing.

    Raises:
        ConfigError: a named case does not exist, there are no cases, or the table is not usable.
    """
    cases = _load(config, lock_files)
    return replace(cases, notices=(*cases.notices, *_poor_budgets(config, cases)))


def _poor_budgets(config: Config, cases: Cases) -> list[str]:
    """Return a line for each pixel budget at which the model's pictures are poor."""
    model = preset(str(config.settings["model"]))
    budgets = {case.settings["pixel_budget"] for case in cases.by_name.values()}
    return [
        f"pixel_budget: {budget} gives poor pictures with {model.name}, which was released for "
        f"{model.pixel_budget}; set pixel_budget: null"
        for budget in sorted(budgets - {None, model.pixel_budget})
        if model.one_budget
    ]


def _load(config: Config, lock_files: LockFiles) -> Cases:
    if config.settings["pie_bench"] is not None:
        # Imported here because it imports NumPy and Pillow, which other plans do not need.
        from editinfinity.cases.pie_bench import cases_of_benchmark, selected_entries

        benchmark = selected_entries(config)
        _check_overrides(config, [entry.name for entry in benchmark.entries])
        cases = cases_of_benchmark(benchmark, config)
    elif config.table is not None:
        notices: list[str] = []
        rows = read_table(config.table, config, notices)
        _check_overrides(config, list(rows))
        part = {name: rows[name] for name in config.slice_of(list(rows))}
        unused = [line for case in part.values() for line in case.notices()]
        cases = Cases(part, (*notices, *unused))
    else:
        return _cases_of_folders(config, lock_files)
    # The files of these cases may be in any folder, so each file is locked individually.
    edits = [edit for case in cases.by_name.values() for edit in case.edits.values()]
    lock_files(case.image for case in cases.by_name.values())
    for file in ("mask", "blend"):
        lock_files(path for edit in edits if (path := getattr(edit, file)) is not None)
    return cases


def _cases_of_folders(config: Config, lock_files: LockFiles) -> Cases:
    """Load the selected folders below ``config.data``, each of them locked before it is read."""
    folders, notices = find_folders(config.data)
    chosen = folders if config.cases is None else list(config.cases)
    faults = [_no_folder(config, name, folders) for name in chosen if not _exists(config, name)]
    if not chosen:
        faults.append(f"{config.data}: contains no case; add {config.data}/NAME/image and prompt")
    if faults:
        raise ConfigError(faults)
    _check_overrides(config, folders)  # they may also name cases that this run leaves out
    names = config.slice_of(chosen)  # the part of the cases that the setting slice selects
    lock_files(config.data / name for name in names)
    by_name = {}
    for name in names:
        by_name[name], file_notices = read_folder(name, config)
        notices += [*file_notices, *by_name[name].notices()]
    return Cases(by_name, tuple(notices))


def load_case(config: Config, name: str, lock_files: LockFiles = lambda paths: None) -> Case:
    """Load one case again, for a job.

    Args:
        config: the configuration.
        name: name of the case.
        lock_files: see ``load_cases``.

    Raises:
        ConfigError: there is no such case, or the table is not usable.
    """
    if cases_are_folders(config):
        if not _exists(config, name):
            raise ConfigError([_no_folder(config, name, find_folders(config.data)[0])])
        lock_files([config.data / name])
        return read_folder(name, config)[0]
    cases = load_cases(config, lock_files).by_name
    if name not in cases:
        raise ConfigError(
            [f"{config.table or 'pie_bench'}: has no case {printable(name)}; add its row"]
        )
    return cases[name]


def cases_are_folders(config: Config) -> bool:
    """Whether cases are folders below ``data``, not rows of a table or benchmark entries."""
    return config.table is None and config.settings["pie_bench"] is None


def _exists(config: Config, name: str) -> bool:
    return (config.data / name).is_dir()


def _no_folder(config: Config, name: str, folders: list[str]) -> str:
    cure = did_you_mean(name, folders) or "; create it or correct the name"
    return f"{config.source}: cases: there is no folder {config.data}/{printable(name)}{cure}"


def _check_overrides(config: Config, names: list[str]) -> None:
    """Reject unknown cases below ``overrides``, since a misspelt name would be ignored silently.

    A folder below ``config.data`` is a known case, even if this run takes its cases from a table.
    """
    faults = [
        f"{config.source}: overrides: there is no case {printable(name)}"
        f"{did_you_mean(name, names) or '; correct the name or remove it'}"
        for name in config.overrides
        if name not in names and not _exists(config, name)
    ]
    if faults:
        raise ConfigError(faults)
