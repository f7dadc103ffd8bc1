"""The live display of a run at the bottom of a terminal; rules/common.smk starts and stops it.

It learns about jobs from Snakemake's log records, the same events that logger plugins receive.
While the display is active, the terminal output of this process and its jobs passes through a pipe
and is printed above the display, so that the two do not overwrite each other.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.live import Live
from rich.text import Text

from editinfinity.display.following import Follower
from editinfinity.display.run_state import RunState
from editinfinity.display.screen import Screen
from editinfinity.display.terminal import Pipe, Terminal, terminal_to_draw_on
from editinfinity.jobs.record import record_path
from editinfinity.names import printable

_REFRESH_SECONDS = 0.2
"""Seconds between two updates of the display."""

_EXCLUDED = ("total", "all", "report")
"""Entries of Snakemake's job statistics that are not counted: its sum, and rules for the run."""


class Listener(logging.Handler):
    """A log handler that updates a run state from Snakemake's events; ignores unknown records."""

    def __init__(self, state: RunState) -> None:
        super().__init__(logging.INFO)
        self.state = state

    def emit(self, record: logging.LogRecord) -> None:
        """Update the state from one event."""
        event = vars(record)
        with suppress(KeyError, TypeError, ValueError):
            match str(event.get("event", "")):
                case "run_info":
                    stats = event["stats"].items()
                    self.state.plan({rule: int(n) for rule, n in stats if rule not in _EXCLUDED})
                case "job_info":
                    self._begin(event)
                case "job_finished":
                    self.state.end(int(event["job_id"]))
                case "job_error":
                    self.state.end(int(event["jobid"]), succeeded=False)

    def _begin(self, event: Mapping[str, Any]) -> None:
        rule = str(event["rule_name"])
        if rule in _EXCLUDED:
            return
        case = str(dict(event.get("wildcards") or {}).get("case", ""))
        label = str(event.get("rule_msg") or rule).removeprefix(f"{case}: ")
        record = next((record_path(Path(log)) for log in event.get("log") or ()), None)
        self.state.begin(int(event["jobid"]), rule, printable(case), printable(label), record)


class LiveRun:
    """Listens to Snakemake from the planning phase on, and shows progress while jobs run.

    Does nothing if there is no terminal or if ``quiet`` is set.

    Args:
        logger: Snakemake's logger.
        quiet: whether to disable the display.
    """

    def __init__(self, logger: logging.Logger, quiet: bool) -> None:
        self._descriptor = None if quiet else terminal_to_draw_on()
        self._state = RunState()
        if self._descriptor is not None:
            logger.addHandler(Listener(self._state))
        self._follower, self._screen = Follower(self._state), Screen(self._state)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._lock = threading.Lock()
        self._started = False

    def start(self) -> None:
        """Start the display in a thread; call this before the first job."""
        if self._descriptor is None:
            return
        self._file = os.fdopen(os.dup(self._descriptor), "w", encoding="utf-8", errors="replace")
        self._console = Terminal(self._file)
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        # Redirect stdout and stderr only if the display is on stderr. A terminal given by another
        # process belongs to that process, which reads the stderr of this process.
        own_terminal = self._descriptor == 2
        self._pipe = Pipe([number for number in (1, 2) if own_terminal and os.isatty(number)])
        self._file.write("\r\x1b[K")
        self._pipe.open()
        self._live.start()
        self._started = True
        atexit.register(self.stop)
        self._thread.start()

    def stop(self) -> None:
        """Remove the display and restore the terminal; call this after the last job.

        It is safe to call this several times and at any time.
        """
        with self._lock:
            if not self._started or self._stopped.is_set():
                return
            self._stopped.set()
        self._thread.join(timeout=2)  # a terminal that hangs must not block the exit
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        for line in self._pipe.close():  # the lines that are still in the pipe
            self._print(line)
        with suppress(OSError, ValueError):  # the terminal may be gone
            self._live.stop()
            self._file.close()

    def _run(self) -> None:
        try:
            while not self._stopped.is_set():
                for line in self._pipe.lines(_REFRESH_SECONDS):
                    self._print(line)
                self._follower.poll()
                columns, lines = self._console.size
                self._live.update(self._screen.render(columns, lines), refresh=True)
        except OSError:  # the terminal is gone, but the run continues
            self._stopped.set()
            self._pipe.close()

    def _print(self, line: str) -> None:
        with suppress(OSError, ValueError):
            self._console.print(Text.from_ansi(line), soft_wrap=True)
