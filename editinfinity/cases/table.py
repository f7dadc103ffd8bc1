"""Cases as rows of a tab-separated table, for images stored elsewhere.

The columns are case, image and edit_prompt; optionally mask, blend, source_prompt, edit,
target_word, and any setting that may differ by case or edit. Paths are relative to the table. Cells
are read literally: quotes are part of the text. An empty cell means the value of config.yaml. Rows
with the same case name are the edits of that case; they must agree on everything that is trained.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from editinfinity.cases.case import Case, Edit
from editinfinity.cases.folders import UNNAMED_EDIT
from editinfinity.config.load import Config, ConfigError, parse_setting
from editinfinity.errors import UserError
from editinfinity.files.input_files import path_on_disk, read_text
from editinfinity.names import did_you_mean, look_of, names_like, printable, why_unusable
from editinfinity.settings.groups import CASE_KEYS, RUN_KEYS, SETTINGS
from editinfinity.settings.types import InvalidValue, format_value

REQUIRED = ("case", "image", "edit_prompt")
COLUMNS = (*REQUIRED, "mask", "blend", "source_prompt", "edit", "target_word")
"""Columns that are inputs rather than settings."""

MAX_BYTES = 2**26
"""Maximum size of a table, in bytes."""

_QUOTED = re.compile(r'".*"', re.DOTALL)

Row = Mapping[str, str]


def read_table(
    path: Path, config: Config, notices: list[str] | None = None, text: str | None = None
) -> dict[str, Case]:
    """Read the cases of a table, in its order.

    Args:
        path: the table.
        config: the configuration, whose settings the table overrides.
        notices: list that receives one line for each input that is valid but possibly a mistake.
        text: content of the table; None reads it from ``path``.

    Raises:
        ConfigError: with one line for every fault, which names the line of the table.
    """
    faults: list[str] = []
    lines = _cells_by_line(path, _read_text(path) if text is None else text)
    rows = _rows_of(path, lines, faults, [] if notices is None else notices)
    if not rows:
        faults.append(f"{path}: has no rows; add one line per edit below the heading")
    grouped: dict[str, list[tuple[int, Row]]] = {}
    for number, row in rows:
        empty = [column for column in REQUIRED if not row[column]]
        if empty:
            faults.append(f"{path}: line {number}: {empty[0]} is empty; fill it in")
            continue
        for key in ("case", "edit"):
            name = row.get(key) or UNNAMED_EDIT
            if reason := why_unusable(name):
                faults.append(
                    f"{path}: line {number}: {key}: {format_value(name)} cannot be a name: "
                    f"{reason}; rename it"
                )
        grouped.setdefault(look_of(row["case"]), []).append((number, row))
    cases = {
        (name := members[0][1]["case"]): _read_case(name, members, path, config, faults)
        for members in grouped.values()
    }
    if faults:
        raise ConfigError(faults)
    return cases


def _rows_of(
    path: Path, lines: list[tuple[int, list[str]]], faults: list[str], notices: list[str]
) -> list[tuple[int, Row]]:
    """Return (line number, cells by column) of every row, in file order, without empty lines.

    Tabs separate cells and line ends separate rows, even between quotes.

    Raises:
        ConfigError: the heading is faulty.
    """
    _, heading = lines[0] if lines else (1, [])
    columns = [column for column in heading if column]
    if heading_faults := [f"{path}: {line}" for line in _heading_faults(columns)]:
        raise ConfigError(heading_faults)
    rows: list[tuple[int, Row]] = []
    for number, cells in lines[1:]:
        cells += [""] * (len(heading) - len(cells))
        row = {column: cell for column, cell in zip(heading, cells, strict=False) if column}
        rows.append((number, row))
        faults.extend(f"{path}: line {number}: {line}" for line in _row_faults(heading, cells))
    quoted = [number for number, cells in lines for cell in cells if _QUOTED.fullmatch(cell)]
    if quoted:
        notices.append(
            f"{printable(str(path))}: line {quoted[0]}: a cell is in double quotes, which are "
            "taken as part of the text; if a spreadsheet added them, remove them"
        )
    return rows


def _read_text(path: Path) -> str:
    """Return the content of a table.

    Raises:
        ConfigError: the table cannot be read.
    """
    try:
        return read_text(path, MAX_BYTES, "create it or correct the path")
    except UserError as error:
        raise ConfigError([f"cases: {error}"]) from None


def _cells_by_line(path: Path, text: str) -> list[tuple[int, list[str]]]:
    """Return (line number, stripped cells) of every line that is not empty.

    Raises:
        ConfigError: a cell is too long.
    """
    reader = csv.reader(io.StringIO(text, newline=None), delimiter="\t", quoting=csv.QUOTE_NONE)
    try:
        lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except csv.Error:
        number, limit = reader.line_num, f"{csv.field_size_limit():,}"
        raise ConfigError(
            [f"{path}: line {number}: a cell is longer than {limit} characters; shorten it"]
        ) from None
    return [(number, cells) for number, cells in lines if any(cells)]


def _row_faults(heading: list[str], cells: list[str]) -> Iterator[str]:
    """Yield one message for each cell of a row that has no column name above it."""
    if any(cells[len(heading) :]):
        yield f"has more cells than the heading, which has {len(heading)}; remove the extra cells"
        return
    for number, (column, cell) in enumerate(zip(heading, cells, strict=False), start=1):
        if cell and not column:
            yield f"column {number} has no heading but contains {format_value(cell)}; name it"


def _heading_faults(columns: list[str]) -> Iterator[str]:
    """Yield one message for each fault of the column names."""
    if len(columns) == 1 and re.search("[,;]", columns[0]):
        found = "commas" if "," in columns[0] else "semicolons"
        yield f"has {found} between the cells; save it with tabs between them, and without quotes"
        return
    for column in {column: None for column in columns if columns.count(column) > 1}:
        yield f"column {format_value(column)}: occurs twice; remove one"
    for key in REQUIRED:
        if key not in columns:
            yield f"has no column {key}; the first line must name {', '.join(REQUIRED)}, with tabs"
    for column in dict.fromkeys(columns):
        if column in RUN_KEYS:
            yield f"column {column}: applies to the whole run; set it in config.yaml"
        elif column not in COLUMNS and column not in SETTINGS:
            hint = did_you_mean(column, [*COLUMNS, *SETTINGS]) or "; remove the column"
            yield f"column {format_value(column)}: is neither an input nor a setting{hint}"


def _read_case(
    name: str, members: list[tuple[int, Row]], path: Path, config: Config, faults: list[str]
) -> Case:
    """Return one case; one message for each of its faults is appended to ``faults``."""
    edits: dict[str, Edit] = {}
    first_number, first = members[0]
    shared: dict[str, Any] = {}
    for number, row in members:
        settings = {**config.settings_of(name), **_row_settings(row, path, number, faults)}
        shared = shared or settings
        edit = row.get("edit") or UNNAMED_EDIT
        if names_like(edit, edits):
            faults.append(f"{path}: line {number}: case {name} has edit {edit} twice; rename one")
            continue
        edits[edit] = Edit(
            edit,
            row["edit_prompt"],
            path_on_disk(path.parent / row["mask"]) if row.get("mask") else None,
            row.get("target_word") or None,
            settings,
            path_on_disk(path.parent / row["blend"]) if row.get("blend") else None,
        )
        differing = [key for key in sorted(CASE_KEYS) if settings[key] != shared[key]]
        differing += [
            key
            for key in ("image", "source_prompt")
            if look_of(row.get(key) or "") != look_of(first.get(key) or "")
        ]
        faults.extend(
            f"{path}: line {number}: {key} differs from line {first_number}, but the edits of a "
            "case share what is trained; use the same value or make two cases"
            for key in differing
        )
    prompt = first.get("source_prompt") or None
    image = path_on_disk(path.parent / first["image"])
    return Case(name, image, prompt, edits, shared)


def _row_settings(row: Row, path: Path, number: int, faults: list[str]) -> dict[str, Any]:
    """Return the settings that a row contains; its faults are appended to ``faults``."""
    import yaml  # here, since most jobs have no table to read

    settings = {}
    for key, cell in row.items():
        if key in COLUMNS or not cell:
            continue
        try:
            settings[key] = parse_setting(key, yaml.safe_load(cell))
        except InvalidValue as error:
            faults.append(f"{path}: line {number}: {error}")
        except (yaml.YAMLError, ValueError, RecursionError, LookupError, AttributeError):
            faults.append(
                f"{path}: line {number}: {key}: {format_value(cell)} is invalid; correct it"
            )
    return settings
