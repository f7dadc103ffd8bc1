"""Check the settings of a run: each fault is one line that names the key, value and remedy."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from editinfinity.errors import UserError
from editinfinity.files.input_files import path_on_disk
from editinfinity.names import did_you_mean, look_of, printable, why_unusable
from editinfinity.settings.groups import PATH, RUN_KEYS, SETTINGS
from editinfinity.settings.types import InvalidValue, format_value

SELECTION_KEYS = ("cases", "data", "results", "overrides", "slice")
"""Keys that select the cases to run and the folders to use, rather than how cases are edited."""

_CASES_CURE = "write e.g. cases: [example_1, example_2], cases: cases.tsv, or null for every folder"

_OTHER_TABLES = (".csv", ".xlsx", ".xls", ".ods")
"""Endings of tables that people give for cases.tsv; nobody's case is called like one."""


class ConfigError(UserError):
    """Faults of the configuration.

    Attributes:
        lines: one line for each fault, ready for the terminal.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = tuple(printable(line) for line in lines)
        super().__init__("; ".join(self.lines))


@dataclass(frozen=True)
class Config:
    """A valid configuration.

    Attributes:
        settings: every key of ``SETTINGS`` → its canonical value.
        cases: names of the cases to edit; None for every folder below ``data``.
        table: path of cases.tsv if cases are rows of a table; None if they are folders.
        data: folder of the cases.
        results: folder of the results, without a trailing slash; for a benchmark, a subfolder of
            the configured folder.
        overrides: look of a case's name (``names.look_of``) → key → canonical value.
        source: name of the configuration file for messages.
        part: (i, n) for the i-th of n slices of the cases, counted from 1.
    """

    settings: Mapping[str, object]
    cases: tuple[str, ...] | None
    table: Path | None
    data: Path
    results: str
    overrides: Mapping[str, Mapping[str, object]]
    source: str = "config.yaml"
    part: tuple[int, int] = (1, 1)

    def slice_of(self, names: Sequence[str]) -> Sequence[str]:
        """Return the names that belong to this slice."""
        index, count = self.part
        return names[(index - 1) * len(names) // count : index * len(names) // count]

    def settings_of(self, case: str) -> dict[str, object]:
        """Return the settings of a case: those of the run, updated with the case's overrides."""
        return {**self.settings, **self.overrides.get(look_of(case), {})}


def parse_setting(key: str, value: object) -> object:
    """Return the canonical value of a setting.

    Raises:
        InvalidValue: the key is unknown or the value not valid; the message is ``KEY: what is
            wrong``.
    """
    if key not in SETTINGS:
        known = [*SETTINGS, *SELECTION_KEYS]
        hint = did_you_mean(key, known) or "; remove it"
        raise InvalidValue(f"{printable(key)[:60]}: is not a setting{hint}")
    try:
        return SETTINGS[key].parse(value)
    except InvalidValue as error:
        raise InvalidValue(f"{key}: {error}") from None


def load_config(
    raw: Mapping[object, object],
    source: str = "config.yaml",
    command_line: Collection[str] = (),
) -> Config:
    """Validate a configuration as merged by Snakemake.

    Args:
        raw: key → value, as parsed from YAML; missing keys take their defaults.
        source: name of the configuration file for messages.
        command_line: keys given by ``--config``; messages about them name ``--config`` instead.

    Raises:
        ConfigError: with one line for every fault.
    """
    faults: list[str] = []
    # Snakemake parses --config cases=null as the text "null".
    nulls: dict[object, object] = {k: None for k in command_line if raw.get(k) == "null"}
    raw = {**raw, **nulls}

    def add_fault(key: object, message: str) -> None:
        faults.append(f"{'--config' if key in command_line else source}: {message}")

    def parse_key(key: str, parse: Callable[[object], Any], default: Any, cure: str = "") -> Any:
        try:
            return parse(raw.get(key, default))
        except InvalidValue as error:
            add_fault(key, f"{key}: {error}{cure}")

    settings = {key: setting.default for key, setting in SETTINGS.items()}
    for key, value in raw.items():
        if key not in SELECTION_KEYS:
            try:
                settings[str(key)] = parse_setting(str(key), _parse_elements(value))
            except InvalidValue as error:
                add_fault(key, str(error))
    data, results = (parse_key(key, partial(_parse_path, key), key) for key in ("data", "results"))
    cases = parse_key("cases", _parse_cases, None, f"; {_CASES_CURE}")
    part = parse_key("slice", _parse_slice, None)
    overrides, override_faults = _parse_overrides(_parse_elements(raw.get("overrides")))
    for fault in override_faults:
        add_fault("overrides", f"overrides: {fault}")
    if faults:
        raise ConfigError(faults)
    if settings["pie_bench"] is not None:
        results /= "pie_bench"
    names, table = cases
    return Config(settings, names, table, data, str(results), overrides, source, part)


def _parse_path(key: str, value: object) -> Path:
    """Return the path of a folder; ``key`` is used in messages."""
    try:
        return path_on_disk(PATH.parse(value))
    except InvalidValue as error:
        cure = f"write e.g. {key}: {key}"
        raise InvalidValue(f"must be {error}, got {format_value(value)}; {cure}") from None


def _parse_elements(value: object) -> object:
    """Return a value whose nested list and mapping elements are parsed as YAML scalars.

    Snakemake parses ``--config cfg=3`` as a number, but every element of ``cfg=[3,4]`` as text.
    """
    if isinstance(value, list):
        return [_parse_element(element) for element in value]
    if isinstance(value, dict):
        return {key: _parse_element(element) for key, element in value.items()}
    return value


def _parse_element(value: object) -> object:
    if not isinstance(value, str):
        return _parse_elements(value)
    if re.fullmatch(r"[-+\d.eE]{1,32}|true|false|null", value):
        import yaml  # here, since every job of the workflow imports this module

        return yaml.safe_load(value)
    return value


def _parse_cases(value: object) -> tuple[tuple[str, ...] | None, Path | None]:
    """Return (names of cases, or None for all; path of the table, or None)."""
    if value is None:
        return None, None
    if isinstance(value, str) and value.lower().endswith(".tsv"):
        return None, path_on_disk(PATH.parse(value))
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not names:
        raise InvalidValue(f"must be names of folders or a table, got {format_value(value)}")
    for name in names:
        if isinstance(name, str) and name.lower().endswith(_OTHER_TABLES):
            raise InvalidValue(
                f"{format_value(name)} is no table that can be read; save it with tabs between the "
                "cells and the ending .tsv"
            )
        if not isinstance(name, str):
            raise InvalidValue(f"must be names, got {format_value(name)} (put numbers in quotes)")
        if reason := why_unusable(name):
            raise InvalidValue(f"{format_value(name)} cannot be a case: {reason}")
    return tuple(dict.fromkeys(names)), None


def _parse_slice(value: object) -> tuple[int, int]:
    """Return (i, n) of "i/n"; (1, 1) for null."""
    if value is None:
        return 1, 1
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", value) if isinstance(value, str) else None
    index, count = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= index <= count:
        raise InvalidValue(
            f"must be NUMBER/COUNT, got {format_value(value)}; write e.g. slice: 1/50"
        )
    return index, count


def _parse_overrides(value: object) -> tuple[dict[str, dict[str, object]], list[str]]:
    """Return (look of a case's name → settings, one message for each fault)."""
    cure = "write e.g. overrides: {example_1: {train_lora_iter: 30}}"
    if value is None:
        return {}, []
    if not isinstance(value, dict):
        return {}, [f"must be a mapping from case to settings, got {format_value(value)}; {cure}"]
    overrides: dict[str, dict[str, object]] = {}
    faults = []
    for case, settings in value.items():
        name = printable(str(case))
        if not isinstance(settings, dict):
            faults.append(f"{name}: must be settings, got {format_value(settings)}; {cure}")
            continue
        if look_of(str(case)) in overrides:
            faults.append(f"{name}: occurs twice, in two spellings of Unicode; keep one")
        overrides[look_of(str(case))] = parsed = {}
        for key, setting in settings.items():
            if key in RUN_KEYS or key in SELECTION_KEYS:
                faults.append(f"{name}: {key}: applies to the whole run; set it at the top level")
                continue
            try:
                parsed[str(key)] = parse_setting(str(key), setting)
            except InvalidValue as error:
                faults.append(f"{name}: {error}")
    return overrides, faults
