"""The record of a conversion, ``conversion.json`` beside the converted files. Free of torch.

It has the SHA-256 of each file, so that weights of gigabytes are known without reading them.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from editinfinity.errors import UserError
from editinfinity.files.input_files import read_text

REPORT = "conversion.json"
"""Name of the record of a conversion, beside the converted files."""

_LONGEST = 2**24
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Recorded:
    """What the record of a conversion says of one file.

    Attributes:
        report: the record.
        file: name of the file, from the record's folder.
        sha256: of the file as it was written.
        size: bytes; None where the record does not say.
    """

    report: Path
    file: str
    sha256: str
    size: int | None


def recorded(path: Path) -> Recorded | None:
    """What is recorded of a file, in its folder or the one above; None where nothing is."""
    path = path.absolute()
    for folder in (path.parent, path.parent.parent):
        try:
            report = json.loads(read_text(folder / REPORT, _LONGEST, "convert it again"))
            for part in report["parts"].values():
                if folder / part["file"] == path:
                    return Recorded(
                        folder / REPORT, part["file"], str(part["sha256"]), part.get("bytes")
                    )
        except (UserError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue
    return None


def unchanged_sha256(path: Path) -> str | None:
    """The recorded SHA-256 of a file that has not changed since; None where that is not sure.

    It has the recorded size, and neither it nor its name, owner or mode changed after the record
    was written: a file put in its place may well be older than the record, but not its change of
    name (``ctime``). Nor do symbolic links lead from the record's folder to it.
    """
    found = recorded(path)
    if found is None or not _SHA256.fullmatch(found.sha256):
        return None
    try:
        file, report = path.stat(), found.report.stat()
        linked = path.resolve() != found.report.parent.resolve() / found.file
    except (OSError, ValueError):
        return None
    changed = max(file.st_mtime_ns, file.st_ctime_ns)
    same = file.st_size == found.size and changed <= report.st_mtime_ns and not linked
    return found.sha256 if same else None
