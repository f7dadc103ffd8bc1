"""The display of a run of the workflow: what rules/common.smk starts and stops."""

from __future__ import annotations

import logging

from editinfinity.display.board import Board
from editinfinity.display.listening import Listener
from editinfinity.display.terminal import Display, terminal_to_draw_on


class LiveRun:
    """Watches Snakemake from the moment it plans, and draws from the first job to the last.

    Does nothing where there is no terminal, or where somebody asked for quiet.

    Args:
        logger: Snakemake's.
        quiet: whether not to draw.
    """

    def __init__(self, logger: logging.Logger, quiet: bool) -> None:
        terminal = None if quiet else terminal_to_draw_on()
        self._display: Display | None = None
        if terminal is not None:
            board = Board()
            logger.addHandler(Listener(board))
            self._display = Display(board, terminal)

    def start(self) -> None:
        """Before the first job."""
        if self._display is not None:
            self._display.start()

    def stop(self) -> None:
        """After the last; may be called again."""
        if self._display is not None:
            self._display.stop()
