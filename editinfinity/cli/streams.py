"""The standard streams of a command: names in any encoding can be printed, on any terminal."""

from __future__ import annotations

import codecs
import hashlib
import json
import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from editinfinity.errors import UserError
from editinfinity.names import printable

_ERRORS = "editinfinity.names"
"""Name of the error handler below."""

STANDARD = Path("-")
"""Path that stands for standard input or output, as does ``./-``, which Python takes for the same;
a file of that name is given with its folder."""

_MAX_PROMPT_BYTES = 2**16
"""Maximum size of a prompt on standard input, in bytes."""

AsJson = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON (docs/commands.md, JSON).")
]
"""The option of a command whose output programs read too, with :func:`print_json`."""


def be_quiet() -> None:
    """Print nothing but errors, and what a command was asked to output (``--quiet``)."""
    logging.getLogger().setLevel(logging.ERROR)
    warnings.simplefilter("ignore")  # of libraries


def is_quiet() -> bool:
    """Return whether ``be_quiet`` has been called."""
    return not logging.getLogger().isEnabledFor(logging.WARNING)


def tell(line: str) -> None:
    """Print a line about what a command has done, unless ``--quiet`` was given."""
    if not is_quiet():
        typer.echo(line)


def print_json(value: Any) -> None:
    """Print a value in one line; ``schemas/command_output.schema.yaml`` is its schema.

    The line is ASCII: control characters in names are escaped, and so are bytes that are no UTF-8.
    """
    typer.echo(json.dumps(value, allow_nan=False))


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


def read_standard_input(limit: int) -> bytes:
    """Return what is on standard input.

    Args:
        limit: maximum size in bytes.

    Raises:
        UserError: it is a terminal, empty or larger than the limit.
    """
    if sys.stdin is None or sys.stdin.isatty():
        raise UserError("-: stands for standard input, which is a terminal; redirect a file to it")
    content = sys.stdin.buffer.read(limit + 1)
    if not content:
        raise UserError("-: standard input is empty; pipe something into it, for one option only")
    if len(content) > limit:
        raise UserError(f"-: standard input has more than {limit:,} bytes; give a smaller file")
    return content


def text_or_standard_input(text: str | None) -> str | None:
    """Return the text of an option; for ``-``, that of standard input without its last newline."""
    if text != str(STANDARD):
        return text
    return text_on_standard_input(_MAX_PROMPT_BYTES).removesuffix("\n")


def text_on_standard_input(limit: int) -> str:
    """Return the text on standard input.

    Raises:
        UserError: it is not UTF-8, or ``read_standard_input`` raises one.
    """
    try:
        return read_standard_input(limit).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError("-: standard input is not UTF-8 text; save it as UTF-8") from None


def picture_or_standard_input(path: Path, folder: Path) -> Path:
    """Return the path of a picture; for ``-``, of a file with the content of standard input.

    Args:
        path: the path.
        folder: folder for the file, whose name is that of its content: the same picture has the
            same path, so that what was learned from it is used again.

    Raises:
        UserError: standard input is no picture.
    """
    if path != STANDARD:
        return path
    from editinfinity.files.atomic import write_bytes
    from editinfinity.files.formats import ENDINGS
    from editinfinity.files.opening import MAX_BYTES, open_header

    content = read_standard_input(MAX_BYTES)
    plain = folder / hashlib.sha256(content).hexdigest()[:16]
    write_bytes(plain, content)
    try:
        with open_header(plain) as image:
            # Pillow says MPO of a JPEG with further pictures.
            endings = ENDINGS.get(str(image.format), ENDINGS["JPEG"])
        named = plain.with_suffix(endings[0])
        plain.replace(named)
    except UserError as error:
        raise UserError(str(error).replace(str(plain), "standard input")) from None
    finally:
        plain.unlink(missing_ok=True)
    return named


def require_writable_standard_output() -> None:
    """Refuse to write a picture to a terminal."""
    if sys.stdout.isatty():
        raise UserError("--output: - would print the picture; redirect it to a file, or name one")


def write_standard_output(content: bytes) -> None:
    """Write bytes to standard output."""
    sys.stdout.flush()
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


class PrintableFormatter(logging.Formatter):
    """Formats log messages in one line each, whatever names they contain."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the message with control characters escaped."""
        return printable(super().formatMessage(record))
