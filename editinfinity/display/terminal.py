"""The terminal that the live display draws on, and the pipe that all other output goes through.

The terminal's modes are never changed and its cursor stays visible: whatever ends the process, the
terminal is as it was.
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
"""Environment variable: the number of an open terminal to draw on, whose owner reads stderr."""


def terminal_to_draw_on() -> int | None:
    """The descriptor of a terminal that can be drawn on: as told, else stderr; None for none."""
    if os.environ.get("TERM", "dumb") == "dumb":
        return None
    for text in (os.environ.get(DRAW_ON), "2"):
        if text is not None and text.isdecimal():
            with suppress(OSError):
                if os.isatty(int(text)):
                    return int(text)
    return None


class Terminal(Console):
    """A console on one terminal, which keeps its cursor."""

    def __init__(self, file: IO[str]) -> None:
        super().__init__(file=file, force_terminal=True, highlight=False)

    @property  # type: ignore[misc]  # it has the size it has, and cannot be set
    def size(self) -> ConsoleDimensions:
        """Of the terminal itself: this process's own streams may be pipes."""
        try:
            columns, lines = os.get_terminal_size(self.file.fileno())
        except (OSError, ValueError):
            columns, lines = 80, 25
        return ConsoleDimensions(columns or 80, lines or 25)

    def show_cursor(self, show: bool = True) -> bool:
        """Not hidden: a process that is killed could not show it again."""
        return False


class Pipe:
    """Takes the place of descriptors, and gives what is written to them line by line."""

    def __init__(self, numbers: Iterable[int]) -> None:
        self.numbers = list(numbers)
        self._kept: dict[int, int] = {}
        self._end = -1
        self._rest = b""

    def open(self) -> None:
        """From here on the descriptors lead into the pipe."""
        if not self.numbers:
            return
        self._end, other = os.pipe()
        os.set_blocking(self._end, False)
        for number in self.numbers:
            self._kept[number] = os.dup(number)
            os.dup2(other, number)
        os.close(other)

    def lines(self, seconds: float) -> list[str]:
        """Lines that are whole, after waiting for some at most so long."""
        if self._end < 0:
            threading.Event().wait(seconds)
            return []
        if not select.select([self._end], [], [], seconds)[0]:
            return []
        with suppress(BlockingIOError):
            while data := os.read(self._end, 65536):
                self._rest += data
        *whole, self._rest = self._rest.split(b"\n")
        # A line that is written over itself shows only what was written last.
        return [
            line.rstrip(b"\r").rpartition(b"\r")[2].decode("utf-8", "replace") for line in whole
        ]

    def close(self) -> list[str]:
        """Give the descriptors back; returns what was still in the pipe."""
        for number, kept in self._kept.items():
            os.dup2(kept, number)
            os.close(kept)
        self._kept = {}
        if self._end < 0:
            return []
        left = self.lines(0)
        if self._rest:
            left.append(self._rest.decode("utf-8", "replace"))
        os.close(self._end)
        self._end = -1
        return left
