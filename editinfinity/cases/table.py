"""Cases as rows of a tab-separated table, for images stored elsewhere.

The columns are case, image and edit_prompt; optionally mask, source_prompt, edit, target_word, and
any setting that may differ by case or edit. Paths are relative to the table. Cells are read
literally: quotes are part of the text. An empty cell means the value of config.yaml. Rows with the
same case name are the edits of that case; they must agree on everything that is trained.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from editinfinity.cases.case import Case, Edit
from editinfinity.cases.folders import UNNAMED
from editinfinity.config.load import Config, ConfigError, parse_setting
from editinfinity.errors import UserError
from editinfinity.files.input_files import read_text
from editinfinity.names import did_you_mean, printable, why_unusable
from editinfinity.settings.groups import CASE_KEYS, RUN_KEYS, SETTINGS
from editinfinity.settings.types import InvalidValue, shown

NEEDED = ("case", "image", "edit_prompt")
COLUMNS = (*NEEDED, "mask", "source_prompt", "edit", "target_word")

_LONGEST = 2**26
"""Maximum size of a table, in bytes."""

_QUOTED = re.compile(r'".*"', re.DOTALL)

Row = Mapping[str, str]


def read_table(path: Path, config: Config, notices: list[str] | None = None) -> dict[str, Case]:
    """Read the cases of a table, in its order.

    Args:
        path: the table.
        config: the configuration, whose settings the table overrides.
        notices: list that receives one line for each input that is valid but possibly a mistake.

    Raises:
        ConfigError: with one line for every fault, which names the line of the table.
    """
    faults: list[str] = []
    rows = _read_rows(path, faults, [] if notices is None else notices)
    if not rows:
        faults.append(f"{path}: has no rows; add one case a line below the heading")
    grouped: dict[str, list[tuple[int, Row]]] = {}
    for number, row in rows:
        empty = [column for column in NEEDED if not row[column]]
        if empty:
            faults.append(f"{path}: line {number}: {empty[0]} is empty; fill it in")
            continue
        for key in ("case", "edit"):
            name = row.get(key) or UNNAMED
            if reason := why_unusable(name):
                faults.append(
                    f"{path}: line {number}: {key}: {shown(name)} is no name: {reason}; rename"
                )
        grouped.setdefault(row["case"], []).append((number, row))
    cases = {
        name: _read_case(name, members, path, config, faults) for name, members in grouped.items()
    }
    if faults:
        raise ConfigError(faults)
    return cases


def _read_rows(path: Path, faults: list[str], notices: list[str]) -> list[tuple[int, Row]]:
    """Return (line number, cells by column) of every row, in file order, without empty lines.

    Tabs separate cells and line ends separate rows, even between quotes.

    Raises:
        ConfigError: there is no table, or its heading is faulty.
    """
    lines = _read_lines(path)
    _, heading = lines[0] if lines else (1, [])
    columns = [column for column in heading if column]
    if found := [f"{path}: {line}" for line in _heading_faults(columns)]:
        raise ConfigError(found)
    rows: list[tuple[int, Row]] = []
    for number, cells in lines[1:]:
        cells += [""] * (len(heading) - len(cells))
        named = {column: cell for column, cell in zip(heading, cells, strict=False) if column}
        rows.append((number, named))
        faults.extend(f"{path}: line {number}: {fault}" for fault in _unnamed(heading, cells))
    quoted = [number for number, cells in lines for cell in cells if _QUOTED.fullmatch(cell)]
    if quoted:
        notices.append(
            f"{printable(str(path))}: line {quoted[0]}: a cell stands in double quotes, which are "
            "taken as part of the text; if a spreadsheet put them there, remove them"
        )
    return rows


def _read_lines(path: Path) -> list[tuple[int, list[str]]]:
    """Return (line number, stripped cells) of every line that is not empty.

    Raises:
        ConfigError: the table cannot be read.
    """
    try:
        text = read_text(path, _LONGEST, "make it, or mend the path")
    except UserError as fault:
        raise ConfigError([f"cases: {fault}"]) from None
    reader = csv.reader(io.StringIO(text, newline=None), delimiter="\t", quoting=csv.QUOTE_NONE)
    try:
        lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except csv.Error:
        number, most = reader.line_num, f"{csv.field_size_limit():,}"
        raise ConfigError(
            [f"{path}: line {number}: a cell is longer than {most} characters; shorten it"]
        ) from None
    return [(number, cells) for number, cells in lines if any(cells)]


def _unnamed(heading: list[str], cells: list[str]) -> Iterator[str]:
    """Yield the faults of a row's cells that have no column name above them."""
    if any(cells[len(heading) :]):
        yield f"has more cells than the heading, which has {len(heading)}; mend it"
        return
    for place, (column, cell) in enumerate(zip(heading, cells, strict=False), start=1):
        if cell and not column:
            yield f"column {place} holds {shown(cell)} but has no name in the heading; name it"


def _heading_faults(columns: list[str]) -> Iterator[str]:
    """Yield the faults of the column names."""
    for column in {column: None for column in columns if columns.count(column) > 1}:
        yield f"column {shown(column)}: is there twice; remove one"
    for key in NEEDED:
        if key not in columns:
            yield f"has no column {key}; the heading names {', '.join(NEEDED)}, tabs between"
    for column in dict.fromkeys(columns):
        if column in RUN_KEYS:
            yield f"column {column}: is one for the whole run; set it in config.yaml"
        elif column not in COLUMNS and column not in SETTINGS:
            hint = did_you_mean(column, [*COLUMNS, *SETTINGS]) or "; remove the column"
            yield f"column {shown(column)}: is neither an input nor a setting{hint}"


def _read_case(
    name: str, members: list[tuple[int, Row]], path: Path, config: Config, faults: list[str]
) -> Case:
    """Return one case; its faults are appended to ``faults``."""
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
    """Return the settings that a row contains; its faults are appended to ``faults``."""
    settings = {}
    for key, cell in row.items():
        if key in COLUMNS or not cell:
            continue
        try:
            settings[key] = parse_setting(key, yaml.safe_load(cell))
        except InvalidValue as fault:
            faults.append(f"{path}: line {number}: {fault}")
        except (yaml.YAMLError, ValueError, RecursionError, LookupError, AttributeError):
            faults.append(f"{path}: line {number}: {key}: {shown(cell)} is no value; mend it")
    return settings
