"""The live display at the foot of a terminal, and all other output above it.

While it runs, what this process and its jobs write to the terminal goes through a pipe and is
printed above the drawing, so that neither spoils the other. The terminal's modes are never changed
and its cursor stays visible: whatever ends the process, the terminal is as it was.
"""

from __future__ import annotations

import atexit
import os
import select
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import IO

from rich.console import Console, ConsoleDimensions
from rich.live import Live
from rich.text import Text

from editinfinity.display.board import Board
from editinfinity.display.following import Follower
from editinfinity.display.screen import Screen

DRAW_ON = "EDITINFINITY_DRAW_ON"
"""Environment variable: the number of an open terminal to draw on, whose owner reads stderr."""

_SECONDS = 0.2
"""Between two drawings."""


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


class Display:
    """Draws a board until it is stopped.

    Args:
        board: what to draw.
        terminal: descriptor of the terminal to draw on.
    """

    def __init__(self, board: Board, terminal: int) -> None:
        self.board, self.follower, self.screen = board, Follower(board), Screen(board)
        self._file = os.fdopen(os.dup(terminal), "w", encoding="utf-8", errors="replace")
        self._console = _Terminal(self._file)
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        # A terminal that was handed over is somebody else's; the own output is to stand above.
        ours = terminal == 2
        self._pipe = _Pipe([number for number in (1, 2) if ours and os.isatty(number)])
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._lock = threading.Lock()
        self._began = False

    def start(self) -> None:
        """Begin to draw, in a thread."""
        self._file.write("\r\x1b[K")
        self._pipe.open()
        self._live.start()
        self._began = True
        atexit.register(self.stop)
        self._thread.start()

    def stop(self) -> None:
        """Take the drawing away and give the terminal back; may be called again, or at any time."""
        with self._lock:
            if not self._began or self._over.is_set():
                return
            self._over.set()
        self._thread.join(timeout=2)
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        for line in self._pipe.close():
            self._print(line)
        with suppress(OSError, ValueError):  # the terminal may be gone
            self._live.stop()
            self._file.close()

    def _work(self) -> None:
        try:
            while not self._over.is_set():
                for line in self._pipe.lines(_SECONDS):
                    self._print(line)
                self.follower.look()
                columns, lines = self._console.size
                self._live.update(self.screen.draw(columns, lines), refresh=True)
        except OSError:  # the terminal is gone; the run is not
            self._over.set()
            self._pipe.close()

    def _print(self, line: str) -> None:
        with suppress(OSError, ValueError):
            self._console.print(Text.from_ansi(line), soft_wrap=True)


class _Terminal(Console):
    """A console on one terminal, which keeps its cursor."""

    def __init__(self, file: IO[str]) -> None:
        super().__init__(file=file, force_terminal=True, highlight=False)

    @property
    def size(self) -> ConsoleDimensions:
        """Of the terminal itself: this process's own streams may be pipes."""
        try:
            columns, lines = os.get_terminal_size(self.file.fileno())
        except (OSError, ValueError):
            columns, lines = 80, 25
        return ConsoleDimensions(columns or 80, lines or 25)

    @size.setter
    def size(self, new_size: tuple[int, int]) -> None:
        raise AttributeError("a terminal has the size it has")

    def show_cursor(self, show: bool = True) -> bool:
        """Not hidden: a process that is killed could not show it again."""
        return False


class _Pipe:
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
