"""Exceptions whose messages are shown to the user."""


class UserError(Exception):
    """An error the user can fix; its one-line message names the file, the problem and the fix.

    Commands and rules print the message without a traceback and exit with status 1. Newlines are
    replaced by spaces, so that malicious names and prompts cannot produce additional lines.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class GpuMemoryError(UserError):
    """Raised when a GPU runs out of memory."""
