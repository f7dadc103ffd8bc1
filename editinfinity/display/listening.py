"""Hears of jobs from Snakemake's log records, the events that its logger plugins get too."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from editinfinity.display.board import Board
from editinfinity.jobs.record import path_of
from editinfinity.names import printable

_NOT_JOBS = ("total", "all", "report")
"""Lines of Snakemake's table of jobs that do no work."""


class Listener(logging.Handler):
    """Tells a board what Snakemake logs; records of a form it does not know are passed over."""

    def __init__(self, board: Board) -> None:
        super().__init__(logging.INFO)
        self.board = board

    def emit(self, record: logging.LogRecord) -> None:
        """Take note of an event."""
        facts = vars(record)
        try:
            match str(facts.get("event", "")):
                case "run_info":
                    self._plan(facts["stats"])
                case "job_info":
                    self._begin(facts)
                case "job_finished":
                    self.board.end(int(facts["job_id"]))
                case "job_error":
                    self.board.end(int(facts["jobid"]), well=False)
        except (KeyError, TypeError, ValueError):
            return

    def _plan(self, stats: Mapping[str, Any]) -> None:
        self.board.plan({rule: int(n) for rule, n in stats.items() if rule not in _NOT_JOBS})

    def _begin(self, facts: Mapping[str, Any]) -> None:
        rule = str(facts["rule_name"])
        if rule in _NOT_JOBS:
            return
        case = str(dict(facts.get("wildcards") or {}).get("case", ""))
        what = str(facts.get("rule_msg") or rule).removeprefix(f"{case}: ")
        record = _record_of(facts.get("log"))
        self.board.begin(int(facts["jobid"]), rule, printable(case), printable(what), record)


def _record_of(logs: Iterable[str] | None) -> Path | None:
    return next((path_of(Path(log)) for log in logs or ()), None)
