"""Exceptions whose messages are shown to the user."""

import re

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


_MAX_REASON_LENGTH = 160
"""Maximum length of a reason that a message quotes, in characters."""


def first_sentence(error: BaseException) -> str:
    """Return what a library's exception says, for messages, without the advice that follows.

    The advice of libraries is for programmers, and may be wrong for users: torch suggests loading
    a file in an unsafe way.
    """
    text = " ".join(str(error).split()) or type(error).__name__
    return re.split(r"[.;](?= |$)", text, maxsplit=1)[0][:_MAX_REASON_LENGTH]
