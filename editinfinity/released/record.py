"""Read the record of a conversion, ``conversion.json``. Does not import torch.

The record is in the folder of the converted files. It has the SHA-256 of each file, so that files
of several gigabytes can be identified without reading them.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from editinfinity.errors import UserError
from editinfinity.files.input_files import read_text
from editinfinity.files.model_folder import MAX_RECORD_BYTES, RECORD_NAME

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class RecordEntry:
    """The entry for one file in the record of a conversion.

    Attributes:
        record: path of the record.
        model: name of the converted model.
        file: path of the file, relative to the record's folder.
        sha256: SHA-256 of the file as it was written.
        size: size in bytes; None if the record does not state it.
    """

    record: Path
    model: str
    file: str
    sha256: str
    size: int | None


def find_entry(path: Path) -> RecordEntry | None:
    """Return a file's entry in the record in its folder or the one above; None if there is none."""
    path = path.absolute()
    for folder in (path.parent, path.parent.parent):
        try:
            record = json.loads(
                read_text(folder / RECORD_NAME, MAX_RECORD_BYTES, "convert it again")
            )
            for part in record["parts"].values():
                if folder / part["file"] == path:
                    return RecordEntry(
                        folder / RECORD_NAME,
                        str(record.get("model")),
                        part["file"],
                        str(part["sha256"]),
                        part.get("bytes"),
                    )
        except (UserError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue
    return None


def require_converted(folder: Path) -> None:
    """Check that a folder is one of converted weights.

    Raises:
        UserError: it has no record of a conversion.
    """
    if not (folder / RECORD_NAME).is_file():
        raise UserError(
            f"{folder}: is no folder of converted weights; --deep needs one, or the name of a model"
        )


def unchanged_sha256(path: Path) -> str | None:
    """Return the recorded SHA-256 of a file if it has certainly not changed since, else None.

    A file counts as unchanged if it has the recorded size, if neither its content nor its name,
    owner or mode (``ctime``) changed after the record was written, and if no symbolic link leads
    from the record's folder to it. The modification time alone would not do: a file that was moved
    there later may have been modified before the record was written, but its ``ctime`` is later.
    """
    entry = find_entry(path)
    if entry is None or not _SHA256.fullmatch(entry.sha256):
        return None
    try:
        file, record = path.stat(), entry.record.stat()
        linked = path.resolve() != entry.record.parent.resolve() / entry.file
    except (OSError, ValueError):
        return None
    changed = max(file.st_mtime_ns, file.st_ctime_ns)
    same = file.st_size == entry.size and changed <= record.st_mtime_ns and not linked
    return entry.sha256 if same else None
