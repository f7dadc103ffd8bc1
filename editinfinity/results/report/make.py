"""Writes the report page for the configured cases and for earlier cases in the results folder."""

from __future__ import annotations

from pathlib import Path

from editinfinity.cases.case import Case, Cases
from editinfinity.cases.load import load_case
from editinfinity.config.load import Config
from editinfinity.errors import UserError
from editinfinity.names import why_unusable
from editinfinity.results.report.page import write_page

NAME = "report.html"

MAX_CASES = 2000
"""Maximum number of cases on one page; with more, the thumbnails would be too small."""


def make_report(config: Config, cases: Cases) -> Path:
    """Write ``results/report.html``, even if some edits failed, and return its path.

    The configured cases come first, then the cases that earlier runs left in the results folder.
    Thus the page grows if cases are run one by one.

    Raises:
        UserError: the page cannot be written.
    """
    page = Path(config.results, NAME)
    by_name, notes = {**cases.by_name, **_others(config, cases)}, list(cases.notices)
    if (left_out := len(by_name) - MAX_CASES) > 0:
        notes.append(f"{left_out} more cases are not on this page, which shows {MAX_CASES} at most")
    write_page(config, Cases(dict(list(by_name.items())[:MAX_CASES]), tuple(notes)), page)
    return page


def _others(config: Config, cases: Cases) -> dict[str, Case]:
    """Return the cases of earlier runs that can still be loaded, by name.

    Return none if the cases come from a table or a benchmark: these already name all their cases,
    and would be read again for each folder.
    """
    if config.table is not None or config.settings["pie_bench"] is not None:
        return {}
    others: dict[str, Case] = {}
    for folder in sorted(Path(config.results).glob("*/logs")):
        name = folder.parent.name
        if name not in cases.by_name and why_unusable(name) is None:
            try:
                others[name] = load_case(config, name)
            except UserError:
                continue
    return others
