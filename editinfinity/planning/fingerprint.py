"""Fingerprints of the user's files: scalars that change if and only if the content changes.

User files are not Snakemake inputs: a missing file would stop the whole DAG, a touched file would
rerun its case, and a file replaced by an older one would not. Their fingerprints are params
instead. A fingerprint covers the whole content of a file, which ``digests`` reads once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from editinfinity.planning.digests import DIGESTS
from editinfinity.released.record import unchanged_sha256

_DIGITS = 16
MISSING = "missing"
"""Fingerprint of a path that does not exist, is not a file, is too large or cannot be read;
``check`` reports the reason."""

_MAX_TEXT_BYTES = 2**24
"""Maximum size, in bytes, of a text whose white space is folded; no prompt is longer."""

MAX_BYTES = 2**30
"""Maximum size of a user's file, in bytes; stages refuse larger ones, too
(``files.opening.MAX_BYTES``)."""


def of_bytes(content: bytes) -> str:
    """Return the fingerprint of a byte string."""
    return hashlib.sha256(content).hexdigest()[:_DIGITS]


def of_text(text: Path | str | None) -> str:
    """Return the fingerprint of a prompt or word, given as a UTF-8 file, as text, or as None.

    White space is folded to single spaces, as it is when prompts are read, so that a newline
    appended by an editor makes no difference. Text from a file and the same text from a table have
    the same fingerprint.
    """
    if text is None:
        return "none"
    if isinstance(text, str):
        return of_bytes(_folded(text.encode("utf-8", "surrogatepass")))
    try:
        if text.is_file() and text.stat().st_size <= _MAX_TEXT_BYTES:  # a pipe never ends
            return of_bytes(_folded(text.read_bytes().removeprefix(b"\xef\xbb\xbf")))
    except (OSError, ValueError):
        return MISSING
    return of_file(text)


def _folded(text: bytes) -> bytes:
    return b" ".join(text.split())


def of_file(path: Path | None) -> str:
    """Return the fingerprint of a photograph or mask, computed from its whole content."""
    return "none" if path is None else _short(DIGESTS.of(path, MAX_BYTES))


def of_each(paths: Iterable[Path], what: str) -> dict[Path, str]:
    """Return path → fingerprint (see ``of_file``) of many files, which are read in parallel.

    Args:
        paths: paths of the files.
        what: plural noun for the files, used in the progress line if reading takes long.
    """
    digests = DIGESTS.of_each(paths, what, MAX_BYTES)
    return {path: _short(digest) for path, digest in digests.items()}


def of_files(paths: Iterable[Path]) -> str:
    """Return one fingerprint for a model's files: their names and contents, in any order.

    Files whose digest is in the conversion record beside them, and which are unchanged, are not
    read again.
    """
    digests = {path: unchanged_sha256(path) for path in paths}
    unknown = [path for path, digest in digests.items() if digest is None]
    digests |= DIGESTS.of_each(unknown, "files of weights")
    lines = sorted(f"{path.name}\t{_short(digest)}" for path, digest in digests.items())
    return of_bytes("\n".join(lines).encode("utf-8", "surrogateescape")) if lines else MISSING


def _short(digest: str | None) -> str:
    return MISSING if digest is None else digest[:_DIGITS]
