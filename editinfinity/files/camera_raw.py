"""Detect unsupported camera raw files by content, whatever their suffix.

A camera raw file is often a TIFF whose first picture is a thumbnail. Opened as an ordinary
picture, only the thumbnail would be edited. So the directories (IFDs) of a TIFF are inspected
before it is decoded.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from editinfinity.errors import UserError

_RAW = "is an unsupported camera raw file; export it as TIFF or JPEG from your raw converter"
_THUMBNAIL = (
    "is a TIFF that begins with a thumbnail, which is not supported; export it as TIFF or JPEG "
    "with one picture"
)
_DAMAGED = "is damaged or incomplete (a TIFF with too many tags); copy or export it again"

_MAGIC = (
    (0, b"FUJIFILMCCD-RAW"),  # RAF, Fujifilm
    (4, b"ftypcrx "),  # CR3, Canon
    (0, b"IIU\0"),  # RW2, Panasonic and Leica
    (0, b"IIRO"), (0, b"IIRS"), (0, b"MMOR"),  # ORF, Olympus
    (0, b"FOVb"),  # X3F, Sigma
    (0, b"\0MRM"),  # MRW, Minolta
    (6, b"HEAPCCDR"),  # CRW, Canon
)  # fmt: skip
_TIFF_MAGIC = (
    (8, b"CR\x02"),  # CR2, Canon
    (8, b"IIIITwaR"), (8, b"MMMMRawT"),  # IIQ, Phase One
)  # fmt: skip

_SUBFILE, _OLD_SUBFILE, _WIDTH, _HEIGHT, _PHOTOMETRIC, _DNG = 254, 255, 256, 257, 262, 50706
_NESTED = (330, 34665, 34853)
_TAGS_READ = frozenset({_SUBFILE, _OLD_SUBFILE, _WIDTH, _HEIGHT, _PHOTOMETRIC, _DNG, *_NESTED})
"""TIFF tags that are read: NewSubfileType, SubfileType, …, DNGVersion; SubIFDs, EXIF and GPS."""

_ENTRY_COUNT = 0
"""Not a TIFF tag: the key in ``_Tags`` for the number of entries in a directory."""

_RAW_PHOTOMETRICS = (32803, 34892)
"""PhotometricInterpretation values of raw sensor data: colour filter array and linear raw."""

_REDUCED, _OLD_REDUCED = 1, 2
"""Reduced resolution: a bit of NewSubfileType, and a value of the older SubfileType."""
_FIELD_FORMATS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
"""TIFF field type → format character of :mod:`struct`."""

_MAX_DIRECTORIES, _MAX_ENTRIES, _MAX_VALUES = 64, 4096, 64
"""Limits on what is read, so that a malicious file cannot use up time or memory."""

_MAX_DECLARED_ENTRIES = 2**16
"""Maximum number of entries in a directory.

A BigTIFF can declare any number, and Pillow would loop over all of them.
"""

_Numbers = tuple[int, ...]
_Tags = dict[int, _Numbers]


def refuse_camera_files(path: Path) -> None:
    """Refuse camera raw files, and TIFFs that begin with a thumbnail or have too many tags.

    All other files pass, including missing and damaged ones: opening them reports the error.

    Raises:
        UserError: the file is one of these.
    """
    with suppress(OSError), path.open("rb") as file:
        head = file.read(64)
        error = _RAW if _has_magic(head, _MAGIC) else _tiff_error(file, head)
        if error:
            raise UserError(f"{path}: {error}")


def _has_magic(head: bytes, magics: tuple[tuple[int, bytes], ...]) -> bool:
    return any(head.startswith(magic, offset) for offset, magic in magics)


def _tiff_error(file: BinaryIO, head: bytes) -> str | None:
    """Return the error text for an unsupported TIFF; None for other TIFFs and other files."""
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or head[2:4] not in (b"*\0", b"\0*", b"+\0", b"\0+"):
        return None
    if _has_magic(head, _TIFF_MAGIC):
        return _RAW
    big = b"+" in head[2:4]
    pictures = list(_directories(file, _Layout.of(order, big), first=8 if big else 4))
    if not pictures:
        return None
    if any(tags[_ENTRY_COUNT][0] > _MAX_DECLARED_ENTRIES for tags in pictures):
        return _DAMAGED
    if _DNG in pictures[0] or any(
        value in _RAW_PHOTOMETRICS for tags in pictures for value in tags.get(_PHOTOMETRIC, ())
    ):
        return _RAW
    first, *others = pictures
    if _is_reduced(first) and any(_pixel_count(other) > _pixel_count(first) for other in others):
        return _THUMBNAIL
    return None


def _is_reduced(tags: _Tags) -> bool:
    subfile, old_subfile = tags.get(_SUBFILE, (0,)), tags.get(_OLD_SUBFILE, (0,))
    return bool(subfile[0] & _REDUCED) or old_subfile[0] == _OLD_REDUCED


def _pixel_count(tags: _Tags) -> int:
    return tags.get(_WIDTH, (0,))[0] * tags.get(_HEIGHT, (0,))[0]


@dataclass(frozen=True)
class _Layout:
    """Binary layout of a TIFF's numbers; a BigTIFF uses eight bytes for counts and offsets.

    Attributes:
        order: byte order character of :mod:`struct`.
        count: layout of a directory's number of entries.
        entry: layout of one directory entry.
        offset: layout of a file offset.
    """

    order: str
    count: struct.Struct
    entry: struct.Struct
    offset: struct.Struct

    @classmethod
    def of(cls, order: str, big: bool) -> _Layout:
        """Return the layout for a byte order, of a BigTIFF if ``big``."""
        letters = ("Q", "HHQ8s", "Q") if big else ("H", "HHI4s", "I")
        return cls(order, *(struct.Struct(order + letter) for letter in letters))


def _directories(file: BinaryIO, layout: _Layout, first: int) -> Iterator[_Tags]:
    """Yield the directories of a TIFF, nested ones included, in the order of the file's pointers.

    A directory is one of the file's pictures, or a table of EXIF or GPS values. Each is yielded
    once, as a dictionary: a tag of ``_TAGS_READ`` → its numbers, and ``_ENTRY_COUNT`` → the number
    of entries. At most ``_MAX_DIRECTORIES`` are read, so that a malicious file cannot use up time.

    Args:
        file: the TIFF.
        layout: the binary layout of its numbers.
        first: file offset of the pointer to the first directory.
    """
    pending, visited = [*_unpack_at(file, layout.offset, first)], {0}
    while pending and len(visited) <= _MAX_DIRECTORIES:
        offset = pending.pop(0)
        if offset in visited:
            continue
        visited.add(offset)
        for entry_count in _unpack_at(file, layout.count, offset):
            tags: _Tags = {_ENTRY_COUNT: (entry_count,)}
            entries = file.read(min(entry_count, _MAX_ENTRIES) * layout.entry.size)
            complete = len(entries) - len(entries) % layout.entry.size
            for tag, kind, count, value in layout.entry.iter_unpack(entries[:complete]):
                if tag in _TAGS_READ and (numbers := _tag_values(file, layout, kind, count, value)):
                    tags[tag] = numbers
            next_pointer = offset + layout.count.size + entry_count * layout.entry.size
            pending += [nested for tag in _NESTED for nested in tags.get(tag, ())]
            pending += _unpack_at(file, layout.offset, next_pointer)
            yield tags


def _tag_values(file: BinaryIO, layout: _Layout, kind: int, count: int, value: bytes) -> _Numbers:
    """Return the numbers of a directory entry of TIFF field type ``kind``.

    ``value`` is the entry's last field: the numbers or, if they do not fit, their file offset.
    """
    letter = _FIELD_FORMATS.get(kind)
    if letter is None or count == 0:
        return ()
    form = struct.Struct(f"{layout.order}{min(count, _MAX_VALUES)}{letter}")
    if count * struct.calcsize(letter) <= len(value):
        return form.unpack_from(value)
    return _unpack_at(file, form, *layout.offset.unpack(value))


def _unpack_at(file: BinaryIO, form: struct.Struct, offset: int) -> _Numbers:
    """Return the numbers at a file offset; empty if it lies outside the file.

    Opening the picture later reports such damage.
    """
    try:
        file.seek(offset)
        return form.unpack(file.read(form.size))
    except (struct.error, OSError, ValueError, OverflowError):
        return ()
