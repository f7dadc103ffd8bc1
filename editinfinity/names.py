"""Names of cases, edits and files: which are usable, and which of them look the same."""

from __future__ import annotations

import difflib
import json
import os
import re
import shlex
import unicodedata
from collections.abc import Collection, Iterable
from pathlib import Path

_SNAKEMAKE_SYNTAX = frozenset('{},"\\')
PATH_VARIABLE = r"<[a-z][a-z0-9_]*>"
"""Pattern of a path variable, which Snakemake substitutes; undefined ones raise an error there."""

_PERIODIC = re.compile(r"(.+)\1{19}", re.DOTALL)
"""Pattern of an ending (the same text 20 times) that Snakemake mistakes for a cyclic rule.

It then stops the whole run.
"""

_MAX_BYTES = 200
"""Maximum length of a name, in bytes.

File systems allow 255, and file names derived from a name are longer than it.
"""

_RESERVED = frozenset({"report.html", "metrics.tsv", "contact_sheet.png", ".thumbnails"})
"""Names of files and folders that the workflow writes next to the cases' results."""


def why_unusable(name: str) -> str | None:
    r"""Return why a name is not usable for a case or an edit, or None if it is usable.

    Spaces, dots, dashes, quotes and characters of any script are allowed. Not allowed are
    characters that Snakemake reads as a wildcard or list (``{ } , " \``), path variables
    (``<name>``), an ending Snakemake takes for a cycle (the same text twenty times), control
    characters, path separators, and bytes that are not UTF-8.
    """
    if not name.strip() or name in (".", ".."):
        return "it is not a name"
    if "/" in name:
        return "it contains a /"
    if name in _RESERVED:
        return "a file of the results has that name"
    if len(name.encode("utf-8", "surrogatepass")) > _MAX_BYTES:
        return f"it is longer than {_MAX_BYTES} bytes"
    if match := re.search(PATH_VARIABLE, name):
        return f"Snakemake cannot handle {match[0]} in a name"
    if any(_PERIODIC.fullmatch(name, start) for start in range(len(name) - 19)):
        return "Snakemake cannot handle a name that ends with the same text twenty times"
    for character in name:
        if character in _SNAKEMAKE_SYNTAX:
            return f"Snakemake cannot handle {character} in a name"
        category = unicodedata.category(character)
        if category in ("Cc", "Zl", "Zp"):
            return "it contains a control character"
        if category == "Cs":
            return "it is not UTF-8"
    return None


def look_of(name: str) -> str:
    """Return a text that is equal for all names that look the same.

    Unicode spells an accented letter as one character (NFC, as most systems type it) or as a letter
    and a combining accent (NFD, as macOS writes file names). Spaces of any kind look the same, and
    format characters and variation selectors are invisible.
    """
    if name.isascii():
        return name
    return "".join(
        " " if unicodedata.category(character) == "Zs" else character
        for character in unicodedata.normalize("NFC", name)
        if unicodedata.category(character) != "Cf" and not "\ufe00" <= character <= "\ufe0f"
    )


def names_like(name: str, names: Collection[str]) -> list[str]:
    """Return the names that look like ``name``; only ``name`` itself if it is one of them."""
    if name in names:
        return [name]
    look = look_of(name)
    return [other for other in names if look_of(other) == look]


def spelled_out(name: str) -> str:
    r"""Return a name in ASCII, so that different spellings of one look can be told apart.

    Other characters become ``\u`` and ``\U`` escapes, which shells understand between ``$'`` and
    ``'``.
    """
    return "".join(
        character
        if " " <= character <= "~"
        else f"\\u{ord(character):04x}"
        if character <= "\uffff"
        else f"\\U{ord(character):08x}"
        for character in name
    )


def printable(name: str) -> str:
    """Escape control characters and undecodable bytes, so the name fits on one terminal line."""
    return "".join(
        character
        if unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp")
        else character.encode("unicode_escape", "surrogatepass").decode("ascii")
        for character in name
    )


def shell_command(*words: str | Path) -> str:
    r"""Return a command that can be pasted into a shell, for messages.

    Control characters and undecodable bytes are escaped as in ``$'a\nb'``, which bash, zsh and
    ksh read: written as they are, they would not fit on the line or could not be printed.

    Args:
        words: the command and its arguments. A ``Path`` that begins with a dash gets a leading
            ``./``, so that it is not read as an option.
    """
    return " ".join(map(_shell_word, words))


def _shell_word(word: str | Path) -> str:
    text = os.fspath(word)
    if isinstance(word, Path) and text.startswith("-"):
        text = f"./{text}"
    if printable(text) == text:
        return shlex.quote(text)
    escaped = (
        f"\\{character}"
        if character in "\\'"
        else character
        if printable(character) == character
        else "".join(f"\\x{byte:02x}" for byte in os.fsencode(character))
        for character in text
    )
    return f"$'{''.join(escaped)}'"


def yaml_text(text: str) -> str:
    """Return a text as YAML, for messages and ``--config``: in quotes unless it is a plain word."""
    is_word = re.fullmatch(r"[A-Za-z_/][\w./-]*", text, re.ASCII)
    is_literal = re.fullmatch(r"null|true|false|yes|no|on|off|y|n", text, re.IGNORECASE)
    return text if is_word and not is_literal else json.dumps(text, ensure_ascii=False)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean X?`` with the closest known name, or "" if none is close."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {printable(close[0])}?" if close else ""
