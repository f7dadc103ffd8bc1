"""The one exception meant for the person at the terminal."""


class UserError(Exception):
    """A fault the user can mend: one line naming the file, what is wrong and the cure.

    Commands and rules print it without a traceback and exit with status 1. Newlines are folded
    so that hostile names and prompts cannot spread it over several lines.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class MemoryFault(UserError):
    """A GPU's memory ran out."""
