"""Tables of the studies: tab-separated, numbers with four significant digits."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from editinfinity.files.atomic import atomic_path, write_text


def write_table(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write all rows; the columns are those of the first row."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t", lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()})


def join_tables(parts: Iterable[Path], whole: Path) -> None:
    """Concatenate tables with the same columns, in the order of the edits, the first column."""
    head, rows = "", list[str]()
    for part in parts:
        head, *rest = part.read_text(encoding="utf-8").splitlines()
        rows += rest
    rows.sort(key=lambda row: int(row.split("\t", 1)[0]))
    write_text(whole, "\n".join([head, *rows]) + "\n")


def replace_rows(table: Path, newer: Path, column: str) -> None:
    """Replace the rows of a table by those of a newer one that have the same value in a column.

    Rows with values that the newer table does not have stay. Both tables have the same columns.
    """
    head, *rows = newer.read_text(encoding="utf-8").splitlines()
    index = head.split("\t").index(column)
    replaced = {row.split("\t")[index] for row in rows}
    if table.exists():
        older = table.read_text(encoding="utf-8").splitlines()[1:]
        rows += [row for row in older if row.split("\t")[index] not in replaced]
    write_text(table, "\n".join([head, *rows]) + "\n")
