"""Load the cases of a run from folders below ``data``, rows of cases.tsv, or a benchmark."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from editinfinity.cases.case import Case, Cases
from editinfinity.cases.folders import find_folders, read_folder
from editinfinity.cases.table import read_table
from editinfinity.config.load import Config, ConfigError
from editinfinity.files.input_files import path_on_disk
from editinfinity.names import did_you_mean, look_of, names_like, printable, spelled_out
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
        cases = Cases(_named_like_results(part, config, rows), (*notices, *unused))
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
    faults = list[str]()
    chosen = folders if config.cases is None else _folders_named(config, folders, faults)
    if not chosen and not faults:
        faults.append(f"{config.data}: contains no case; add {config.data}/NAME/image and prompt")
    if faults:
        raise ConfigError(faults)
    _check_overrides(config, folders)  # they may also name cases that this run leaves out
    notices += _same_looks(config.data, folders)
    names = config.slice_of(chosen)  # the part of the cases that the setting slice selects
    lock_files(config.data / name for name in names)
    by_name = {}
    for name in names:
        by_name[name], file_notices = read_folder(name, config)
        notices += [*file_notices, *by_name[name].notices()]
    return Cases(_named_like_results(by_name, config, folders), tuple(notices))


def _folders_named(config: Config, folders: list[str], faults: list[str]) -> list[str]:
    """Return the folders of the cases that the configuration names, spelled as on the disk.

    A message for each name that is not the name of one folder is appended to ``faults``.
    """
    chosen = []
    for name in config.cases or ():
        try:
            chosen.append(_folder_named(config, name, folders))
        except ConfigError as error:
            faults += error.lines
    return list(dict.fromkeys(chosen))


def _folder_named(config: Config, name: str, folders: list[str]) -> str:
    """Return the name of the folder that looks like ``name``.

    Raises:
        ConfigError: there is none, or there are several.
    """
    if (config.data / name).is_dir():
        return name
    match names_like(name, folders):
        case [folder]:
            return folder
        case []:
            cure = did_you_mean(name, folders) or "; create it or correct the name"
            path = f"{config.data}/{printable(name)}"
            raise ConfigError([f"{config.source}: cases: there is no folder {path}{cure}"])
        case several:
            raise ConfigError(_same_looks(config.data, several))


def _same_looks(data: Path, folders: Iterable[str]) -> list[str]:
    """Return a line for each look that several folders have, as Unicode spells it in two ways."""
    by_look = defaultdict[str, list[str]](list)
    for folder in folders:
        by_look[look_of(folder)].append(folder)
    return [
        f"{data}: has folders whose names look the same, {printable(look)}, but are spelled "
        f"differently ({' and '.join(map(spelled_out, same))}); they are different cases: rename "
        "one"
        for look, same in by_look.items()
        if len(same) > 1
    ]


def _named_like_results(
    by_name: Mapping[str, Case], config: Config, names: Collection[str]
) -> dict[str, Case]:
    """Name each case as its results folder is spelled, so that a new spelling reruns nothing.

    Args:
        by_name: the cases, by the name that the user's folder or table has.
        config: the configuration.
        names: names of all cases; the results folder of another case is not taken.
    """
    try:
        results = {path.name for path in Path(config.results).iterdir()}
    except OSError:
        results = set()
    by_look = {look_of(name): name for name in sorted(results.difference(names))}
    renamed = {}
    for name, case in by_name.items():
        kept = name if name in results else by_look.get(look_of(name), name)
        renamed[kept] = case if kept == name else replace(case, name=kept)
    return renamed


def load_case(config: Config, name: str, lock_files: LockFiles = lambda paths: None) -> Case:
    """Load one case again, for a job.

    Args:
        config: the configuration.
        name: name of the case, which is that of its results folder.
        lock_files: see ``load_cases``.

    Raises:
        ConfigError: there is no such case, or the table is not usable.
    """
    if cases_are_folders(config):
        folder = _folder_named(config, name, find_folders(config.data)[0])
        lock_files([config.data / folder])
        return replace(read_folder(folder, config)[0], name=name)
    cases = load_cases(config, lock_files).by_name
    if not (same := names_like(name, cases)):
        raise ConfigError(
            [f"{config.table or 'pie_bench'}: has no case {printable(name)}; add its row"]
        )
    return replace(cases[same[0]], name=name)


def cases_are_folders(config: Config) -> bool:
    """Whether cases are folders below ``data``, not rows of a table or benchmark entries."""
    return config.table is None and config.settings["pie_bench"] is None


def _check_overrides(config: Config, names: list[str]) -> None:
    """Reject unknown cases below ``overrides``, since a misspelt name would be ignored silently.

    A folder below ``config.data`` is a known case, even if this run takes its cases from a table.
    """
    faults = []
    for name in config.overrides:
        same = [other for other in names if look_of(other) == name]
        if len(same) > 1:
            faults += [
                f"{config.source}: overrides: {line}" for line in _same_looks(config.data, same)
            ]
        elif not same and not path_on_disk(config.data / name).is_dir():
            cure = did_you_mean(name, names) or "; correct the name or remove it"
            faults.append(f"{config.source}: overrides: there is no case {printable(name)}{cure}")
    if faults:
        raise ConfigError(faults)
