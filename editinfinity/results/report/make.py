"""The page of a folder of results: of the cases of its configuration, and of all others there."""

from __future__ import annotations

from pathlib import Path

from editinfinity.cases.case import Case, Cases
from editinfinity.cases.load import load_case
from editinfinity.config.load import Config
from editinfinity.errors import UserError
from editinfinity.names import why_unusable
from editinfinity.results.report.page import write_page

NAME = "report.html"

MOST_CASES = 2000
"""On one page; beyond, thumbnails would be too small to tell anything."""


def make_report(config: Config, cases: Cases) -> Path:
    """Write ``results/report.html``, whatever went well or wrong; returns its path.

    Cases that lie in the results from earlier runs follow those of the configuration, so that a
    page grows as cases are run one by one.

    Raises:
        UserError: it cannot be written.
    """
    page = Path(config.results, NAME)
    chosen, notes = {**cases.by_name, **_others(config, cases)}, list(cases.notices)
    if (left_out := len(chosen) - MOST_CASES) > 0:
        notes.append(
            f"{left_out} more cases are not on this page, which shows {MOST_CASES} at most"
        )
    write_page(config, Cases(dict(list(chosen.items())[:MOST_CASES]), tuple(notes)), page)
    return page


def _others(config: Config, cases: Cases) -> dict[str, Case]:
    """Cases that were run before and still have their data, by name.

    None of a table or a benchmark: it names all it has, and would be read anew for each folder.
    """
    if config.table is not None or config.settings["pie_bench"] is not None:
        return {}
    found: dict[str, Case] = {}
    for folder in sorted(Path(config.results).glob("*/logs")):
        name = folder.parent.name
        if name not in cases.by_name and why_unusable(name) is None:
            try:
                found[name] = load_case(config, name)
            except UserError:
                continue
    return found
