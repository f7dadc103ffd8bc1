"""Cases as rows of a tab-separated table, for images that already lie elsewhere.

Columns: case, image, edit_prompt; optionally mask, source_prompt, edit, target_word, and any
setting that may differ by case or edit. Paths are relative to the table. An empty cell means "as
config.yaml says". Rows of one case are its edits; they must agree on everything that is trained.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from editinfinity.errors import UserError
from editinfinity.files.given import require_file
from editinfinity.workflow.cases import Case, Edit
from editinfinity.workflow.config import Config, ConfigError, did_you_mean, parse_setting
from editinfinity.workflow.folders import UNNAMED
from editinfinity.workflow.kinds import Unfit, shown
from editinfinity.workflow.names import unfit
from editinfinity.workflow.settings import CASE_KEYS, RUN_KEYS, SETTINGS

NEEDED = ("case", "image", "edit_prompt")
COLUMNS = (*NEEDED, "mask", "source_prompt", "edit", "target_word")

_LONGEST = 2**26
"""Bytes of a table."""

Row = Mapping[str, str]


def read_table(path: Path, config: Config) -> dict[str, Case]:
    """The cases of a table, in its order.

    Raises:
        ConfigError: with a line for every fault, naming the table's line.
    """
    rows = _read_rows(path)
    faults: list[str] = []
    grouped: dict[str, list[tuple[int, Row]]] = {}
    for number, row in enumerate(rows, start=2):
        empty = [column for column in NEEDED if not row[column]]
        if empty:
            faults.append(f"{path}: line {number}: {empty[0]} is empty; fill it in")
            continue
        for key in ("case", "edit"):
            name = row.get(key) or UNNAMED
            if reason := unfit(name):
                faults.append(
                    f"{path}: line {number}: {key}: {shown(name)} is no name: {reason}; rename"
                )
        grouped.setdefault(row["case"], []).append((number, row))
    cases = {
        name: _read_case(name, members, path, config, faults) for name, members in grouped.items()
    }
    if not rows:
        faults.append(f"{path}: has no rows; add one case a line below the heading")
    if faults:
        raise ConfigError(faults)
    return cases


def _read_rows(path: Path) -> list[Row]:
    """Cells as stripped text, in the order of the file."""
    try:
        require_file(path, _LONGEST, "make it, or mend the path")
        with warnings.catch_warnings():
            # A row longer than the heading would only warn, and lose its last cells.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(
                path,
                sep="\t",
                dtype=str,
                keep_default_na=False,
                encoding="utf-8-sig",
                index_col=False,
            )
    except pd.errors.ParserWarning:
        raise ConfigError([f"{path}: a row has more cells than the heading; mend it"]) from None
    except UserError as fault:
        raise ConfigError([f"cases: {fault}"]) from None
    except OSError as fault:
        raise ConfigError([f"{path}: cannot be read ({fault.strerror})"]) from None
    except UnicodeDecodeError:
        raise ConfigError([f"{path}: is not UTF-8; save it as UTF-8"]) from None
    except ValueError as fault:  # pandas' parser errors among them
        raise ConfigError([f"{path}: is no tab-separated table ({fault}); mend it"]) from None
    columns = [str(column) for column in table.columns]
    if faults := [f"{path}: {line}" for line in _heading_faults(columns)]:
        raise ConfigError(faults)
    # An editor's empty last lines are no rows; pandas skips only those without any tab.
    rows: list[Row] = [
        {column: cell.strip() for column, cell in zip(columns, cells, strict=True)}
        for cells in table.itertuples(index=False, name=None)
    ]
    while rows and not any(rows[-1].values()):
        rows.pop()
    return rows


def _heading_faults(columns: list[str]) -> Iterator[str]:
    """What is wrong with the names of the columns."""
    for key in NEEDED:
        if key not in columns:
            yield f"has no column {key}; the heading names {', '.join(NEEDED)}, tabs between"
    for column in columns:
        if column in RUN_KEYS:
            yield f"column {column}: is one for the whole run; set it in config.yaml"
        elif column not in COLUMNS and column not in SETTINGS:
            hint = did_you_mean(column, [*COLUMNS, *SETTINGS]) or "; remove the column"
            yield f"column {shown(column)}: is neither an input nor a setting{hint}"


def _read_case(
    name: str, members: list[tuple[int, Row]], path: Path, config: Config, faults: list[str]
) -> Case:
    """One case; what is wrong is added to ``faults``."""
    edits: dict[str, Edit] = {}
    first_number, first = members[0]
    shared: dict[str, Any] = {}
    for number, row in members:
        settings = {**config.of_case(name), **_row_settings(row, path, number, faults)}
        shared = shared or settings
        edit = row.get("edit") or UNNAMED
        if edit in edits:
            faults.append(f"{path}: line {number}: case {name} has edit {edit} twice; rename one")
            continue
        edits[edit] = Edit(
            edit,
            row["edit_prompt"],
            path.parent / row["mask"] if row.get("mask") else None,
            row.get("target_word") or None,
            settings,
        )
        differing = [key for key in sorted(CASE_KEYS) if settings[key] != shared[key]]
        differing += [key for key in ("image", "source_prompt") if row.get(key) != first.get(key)]
        faults.extend(
            f"{path}: line {number}: {key} differs from line {first_number}; the edits of one case "
            "share what is trained, so give them the same or make two cases"
            for key in differing
        )
    prompt = first.get("source_prompt") or None
    return Case(name, path.parent / first["image"], prompt, edits, shared)


def _row_settings(row: Row, path: Path, number: int, faults: list[str]) -> dict[str, Any]:
    """The settings a row gives."""
    settings = {}
    for key, cell in row.items():
        if key in COLUMNS or not cell:
            continue
        try:
            settings[key] = parse_setting(key, yaml.safe_load(cell))
        except Unfit as fault:
            faults.append(f"{path}: line {number}: {fault}")
        except (yaml.YAMLError, ValueError, RecursionError, LookupError, AttributeError):
            faults.append(f"{path}: line {number}: {key}: {shown(cell)} is no value; mend it")
    return settings
