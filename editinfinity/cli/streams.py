"""The standard streams of a command: names in any encoding can be printed, on any terminal."""

from __future__ import annotations

import codecs
import logging
import os
import sys
from typing import TextIO

from editinfinity.names import printable

_ERRORS = "editinfinity.names"
"""Name of the error handler below."""


def prepare_streams() -> None:
    """Prepare the standard streams for names that they cannot encode; open those that are closed.

    If Python does not use UTF-8 for the names of files (``LANG=C`` with ``PYTHONCOERCECLOCALE=0``),
    this process is replaced by one that does, because names and prompts are written into files.
    """
    if sys.getfilesystemencoding() != "utf-8" and os.environ.get("PYTHONUTF8") != "1":
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:  # closed: files that are opened later must not get its number
            os.open(os.devnull, os.O_RDWR)  # the lowest free number
    codecs.register_error(_ERRORS, _encode_name)
    # What has been put in the place of a stream is left alone.
    if sys.stdout is sys.__stdout__:
        encoding = sys.stdout.encoding if sys.stdout else "utf-8"
        # click writes UTF-8 where stdout is ASCII, but would lose the bytes of other names.
        encoding = "utf-8" if codecs.lookup(encoding).name == "ascii" else encoding
        sys.stdout = _open(1, encoding, _ERRORS)
    if sys.stderr is sys.__stderr__:
        encoding = sys.stderr.encoding if sys.stderr else "utf-8"
        sys.stderr = _open(2, encoding, "backslashreplace")


def _open(descriptor: int, encoding: str, errors: str) -> TextIO:
    """Open a standard stream once more; ``reconfigure`` fails if it has become a pipe meanwhile."""
    return open(
        descriptor,
        "w",
        buffering=1 if descriptor == 2 or os.isatty(descriptor) else -1,
        encoding=encoding,
        errors=errors,
        closefd=False,
    )


def finish_streams() -> None:
    """Write what is left in stdout; a reader that has gone away (``| head``) is no error."""
    try:
        sys.stdout.flush()
    except OSError:
        # Python writes the rest once more when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _encode_name(error: UnicodeError) -> tuple[str | bytes, int]:
    """Encode what a stream cannot: the original bytes of names, escapes for other characters.

    So a path that a command prints is the path of the file, even if its name is no UTF-8.
    """
    assert isinstance(error, UnicodeEncodeError)
    try:
        part = error.object[error.start : error.end]
        return part.encode("ascii", "surrogateescape"), error.end
    except UnicodeEncodeError:
        return codecs.backslashreplace_errors(error)


class PrintableFormatter(logging.Formatter):
    """Formats log messages in one line each, whatever names they contain."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the message with control characters escaped."""
        return printable(super().formatMessage(record))
