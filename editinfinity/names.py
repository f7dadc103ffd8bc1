"""Names of cases and edits: which of them Snakemake and a file system can carry."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable

_SNAKEMAKE = frozenset('{},"\\')
PATH_VARIABLE = r"<[a-z][a-z0-9_]*>"
"""What Snakemake replaces in a path by a value of its own, and stops where it has none."""

_PERIODIC = re.compile(r"(.+)\1{19}", re.DOTALL)
"""An end that Snakemake takes for rules which call themselves for ever: it stops the whole run."""

_LONGEST = 200
"""Bytes of a name; file systems take 255, and what is made of a name adds to it."""

_RESERVED = frozenset({"report.html", "metrics.tsv", "contact_sheet.png", ".thumbnails"})


def why_unusable(name: str) -> str | None:
    r"""Why a name cannot be a case's or an edit's, or None where it can.

    Spaces, dots, dashes, quotes and any script are welcome. Not: what Snakemake reads as wildcard
    or list (``{ } , " \``), as a variable (``<name>``) or as a cycle (one piece twenty times at the
    end), control characters, path separators, and bytes that are no UTF-8.
    """
    if not name.strip() or name in (".", ".."):
        return "it is no name"
    if "/" in name:
        return "it holds a /"
    if name in _RESERVED:
        return "a file of the results has that name"
    if len(name.encode("utf-8", "surrogatepass")) > _LONGEST:
        return f"it is longer than {_LONGEST} bytes"
    if found := re.search(PATH_VARIABLE, name):
        return f"Snakemake cannot carry {found[0]} in a name"
    if any(_PERIODIC.fullmatch(name, start) for start in range(len(name) - 19)):
        return "Snakemake cannot carry a name that ends in one piece twenty times"
    for character in name:
        if character in _SNAKEMAKE:
            return f"Snakemake cannot carry {character} in a name"
        category = unicodedata.category(character)
        if category in ("Cc", "Zl", "Zp"):
            return "it holds a control character"
        if category == "Cs":
            return "it is not UTF-8"
    return None


def printable(name: str) -> str:
    """The name fit for one line of a terminal: control characters and stray bytes escaped."""
    return "".join(
        character
        if unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp")
        else character.encode("unicode_escape", "surrogatepass").decode("ascii")
        for character in name
    )


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``; did you mean X?``, or nothing where nothing is near."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {printable(close[0])}?" if close else ""
