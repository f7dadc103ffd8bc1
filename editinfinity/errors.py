"""Exceptions whose messages are shown to the user."""

from editinfinity.names import printable


class UserError(Exception):
    """An error the user can fix; its one-line message names the file, the problem and the fix.

    Commands and rules print the message without a traceback and exit with status 1. Line breaks
    and other control characters are escaped, so that names and prompts cannot produce additional
    lines or control the terminal.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class GpuMemoryError(UserError):
    """Raised when a GPU runs out of memory."""
