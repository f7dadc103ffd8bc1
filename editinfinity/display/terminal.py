"""The terminal that shows the live display, and the pipe that carries all other output.

The display never changes the terminal's modes and never hides its cursor. The terminal therefore
stays usable however the process ends.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import IO

from rich.console import Console, ConsoleDimensions

DRAW_ON = "EDITINFINITY_DRAW_ON"
"""Environment variable with the file descriptor of an open terminal to draw on. The process that
sets it reads the stderr of this process."""


def terminal_to_draw_on() -> int | None:
    """Return the descriptor of a terminal to draw on: ``DRAW_ON``, else stderr, else None."""
    if os.environ.get("TERM", "dumb") == "dumb":
        return None
    for text in (os.environ.get(DRAW_ON), "2"):
        if text is not None and text.isdecimal():
            with suppress(OSError):
                if os.isatty(int(text)):
                    return int(text)
    return None


class Terminal(Console):
    """A console on one terminal that never hides the cursor."""

    def __init__(self, file: IO[str]) -> None:
        super().__init__(file=file, force_terminal=True, highlight=False)

    @property  # type: ignore[misc]  # the size is read-only
    def size(self) -> ConsoleDimensions:
        """Size of the terminal itself, as the standard streams of this process may be pipes."""
        try:
            columns, lines = os.get_terminal_size(self.file.fileno())
        except (OSError, ValueError):
            columns, lines = 80, 25
        return ConsoleDimensions(columns or 80, lines or 25)

    def show_cursor(self, show: bool = True) -> bool:
        """Leave the cursor visible, as a process that is killed could not restore it."""
        return False


class Pipe:
    """Redirects file descriptors into a pipe, and returns what is written to them as lines."""

    def __init__(self, descriptors: Iterable[int]) -> None:
        self.descriptors = list(descriptors)
        self._saved: dict[int, int] = {}
        self._read_end = -1
        self._incomplete = b""

    def open(self) -> None:
        """Redirect the descriptors into the pipe."""
        if not self.descriptors:
            return
        self._read_end, write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        for descriptor in self.descriptors:
            self._saved[descriptor] = os.dup(descriptor)
            os.dup2(write_end, descriptor)
        os.close(write_end)

    def lines(self, seconds: float) -> list[str]:
        """Return complete lines, after waiting at most ``seconds`` for output."""
        if self._read_end < 0:
            threading.Event().wait(seconds)
            return []
        if not select.select([self._read_end], [], [], seconds)[0]:
            return []
        with suppress(BlockingIOError):
            while data := os.read(self._read_end, 65536):
                self._incomplete += data
        *whole, self._incomplete = self._incomplete.split(b"\n")
        # A carriage return restarts a line; only the text after the last one is visible.
        return [
            line.rstrip(b"\r").rpartition(b"\r")[2].decode("utf-8", "replace") for line in whole
        ]

    def close(self) -> list[str]:
        """Restore the descriptors, and return the lines that were left in the pipe."""
        for descriptor, saved in self._saved.items():
            os.dup2(saved, descriptor)
            os.close(saved)
        self._saved = {}
        if self._read_end < 0:
            return []
        left = self.lines(0)
        if self._incomplete:
            left.append(self._incomplete.decode("utf-8", "replace"))
        os.close(self._read_end)
        self._read_end = -1
        return left
