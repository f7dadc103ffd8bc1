"""Fingerprints of the user's files: scalars that change when a content does, and only then.

User files are no inputs of Snakemake's: a missing one would stop the whole DAG, a touched one
would rerun its case, and one replaced by an older file would not. Their fingerprints are params.
Files go by their whole content, which ``digests`` reads once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from editinfinity.planning.digests import DIGESTS
from editinfinity.released.record import unchanged_sha256

_DIGITS = 16
MISSING = "missing"
"""Stands for what is not there, no file, too large or cannot be read; ``check`` says so."""

_LONGEST_TEXT = 2**24
"""Bytes up to which white space in a text counts as it is read; a longer one is no prompt."""

LARGEST = 2**30
"""Bytes of a user's file; the stages refuse larger ones (``files.opening.MAX_BYTES``)."""


def of_bytes(content: bytes) -> str:
    """Fingerprint of some bytes."""
    return hashlib.sha256(content).hexdigest()[:_DIGITS]


def of_text(text: Path | str | None) -> str:
    """Fingerprint of a prompt or word, given as a UTF-8 file, as text, or not at all.

    White space counts as prompts are read (folded to single spaces), so that an editor's last
    newline changes nothing; nor does it matter whether the text came from a file or a table.
    """
    if text is None:
        return "none"
    if isinstance(text, str):
        return of_bytes(_folded(text.encode("utf-8", "surrogatepass")))
    try:
        if text.is_file() and text.stat().st_size <= _LONGEST_TEXT:  # a pipe never ends
            return of_bytes(_folded(text.read_bytes().removeprefix(b"\xef\xbb\xbf")))
    except (OSError, ValueError):
        return MISSING
    return of_file(text)


def _folded(text: bytes) -> bytes:
    return b" ".join(text.split())


def of_file(path: Path | None) -> str:
    """Fingerprint of a photograph or mask: of its whole content."""
    return "none" if path is None else _short(DIGESTS.of(path, LARGEST))


def of_each(paths: Iterable[Path], what: str) -> dict[Path, str]:
    """Path → ``of_file`` of many files, which are read side by side.

    Args:
        paths: of the files.
        what: they are, for a line where reading takes long.
    """
    return {path: _short(digest) for path, digest in DIGESTS.of_each(paths, what, LARGEST).items()}


def of_files(paths: Iterable[Path]) -> str:
    """One fingerprint for the files of a model: their names and contents, in any order.

    What the record of a conversion has, which lies beside the files, is not read again.
    """
    digests = {path: unchanged_sha256(path) for path in paths}
    unknown = [path for path, digest in digests.items() if digest is None]
    digests |= DIGESTS.of_each(unknown, "files of weights")
    lines = sorted(f"{path.name}\t{_short(digest)}" for path, digest in digests.items())
    return of_bytes("\n".join(lines).encode("utf-8", "surrogateescape")) if lines else MISSING


def _short(digest: str | None) -> str:
    return MISSING if digest is None else digest[:_DIGITS]
