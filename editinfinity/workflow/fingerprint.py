"""Fingerprints of the user's files: scalars that change when a content does, and only then.

User files are no inputs of Snakemake's: a missing one would stop the whole DAG, a touched one
would rerun its case, and one replaced by an older file would not. Their fingerprints are params.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterable
from pathlib import Path

_END = 64 * 1024
"""Bytes at either end of an image that are read."""

_DIGITS = 16
MISSING = "missing"
"""Stands for what is not there, no file or cannot be read; ``check`` says so."""

_LONGEST = 2**24
"""Bytes up to which a file counts as small and is read whole; longer ones go by their ends."""


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
    size = _size(text)
    if size is None or size > _LONGEST:
        return of_image(text)
    try:
        return of_bytes(_folded(text.read_bytes().removeprefix(b"\xef\xbb\xbf")))
    except OSError:
        return MISSING


def _folded(text: bytes) -> bytes:
    return b" ".join(text.split())


def of_file(path: Path | None) -> str:
    """Fingerprint of a whole file, for small ones such as masks."""
    if path is None:
        return "none"
    size = _size(path)
    if size is None or size > _LONGEST:
        return of_image(path)
    try:
        return of_bytes(path.read_bytes())
    except OSError:
        return MISSING


def of_image(path: Path) -> str:
    """Fingerprint of an image: its size and its first and last 64 KiB."""
    if _size(path) is None:
        return MISSING
    try:
        with path.open("rb") as file:
            head = file.read(_END)
            size = file.seek(0, 2)
            file.seek(max(0, size - _END))
            return of_bytes(b"%d\n" % size + head + file.read(_END))
    except OSError:
        return MISSING


def _size(path: Path) -> int | None:
    """Bytes of a file; None for what is none: opening a pipe waits for ever."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def of_images(paths: Iterable[Path]) -> str:
    """One fingerprint for several files and their names, in any order (a model's weights)."""
    lines = sorted(f"{path.name}\t{of_image(path)}" for path in paths)
    return of_bytes("\n".join(lines).encode()) if lines else MISSING
