"""Files that are either whole or absent.

A killed workflow leaves half-written outputs behind, which a later run would take for finished
(design document "workflow"). So everything is written to a temporary sibling and renamed.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from editinfinity.errors import UserError


@contextmanager
def atomic_path(final: Path) -> Iterator[Path]:
    """A temporary path beside ``final`` that becomes it when the block ends well.

    The folder is made if it is missing. The temporary name ends like ``final``, so that writers
    that look at the ending work. Nothing stays behind if the block fails.

    Raises:
        UserError: the folder cannot be written to.
    """
    final = Path(final)
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        # Only the ending of a long name is kept: names have a limit of 255 bytes.
        handle, name = tempfile.mkstemp(prefix=".tmp-", suffix=final.suffix, dir=final.parent)
    except OSError as error:
        raise UserError(
            f"{final}: cannot be written ({error.strerror}); choose another folder or make room"
        ) from None
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _flush_to_disk(temporary)
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(final)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically, newlines as given."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically: keys sorted, indented, so that equal values are equal bytes."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def _flush_to_disk(path: Path) -> None:
    """Have the bytes on disk before the name: a power cut must not leave an empty file."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    """The process's umask; temporary files are private by default, results should not be."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
