"""Detect unsupported camera files (camera raw, HEIC) by content, whatever their suffix.

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

_RAW = "is a camera raw, which is not read; export it as TIFF or JPEG from your raw converter"
_THUMBNAIL = (
    "is a TIFF that begins with a thumbnail of the picture behind it, which is not read; export it "
    "as TIFF or JPEG with one picture"
)
_DAMAGED = "is damaged or incomplete (a TIFF of too many tags); copy or export it again"
_HEIC = "is a HEIC picture, which is not read; save it as JPEG or PNG"

_MARKS = (
    (0, b"FUJIFILMCCD-RAW"),  # RAF, Fujifilm
    (4, b"ftypcrx "),  # CR3, Canon
    (0, b"IIU\0"),  # RW2, Panasonic and Leica
    (0, b"IIRO"), (0, b"IIRS"), (0, b"MMOR"),  # ORF, Olympus
    (0, b"FOVb"),  # X3F, Sigma
    (0, b"\0MRM"),  # MRW, Minolta
    (6, b"HEAPCCDR"),  # CRW, Canon
)  # fmt: skip
_MARKS_IN_TIFF = (
    (8, b"CR\x02"),  # CR2, Canon
    (8, b"IIIITwaR"), (8, b"MMMMRawT"),  # IIQ, Phase One
)  # fmt: skip
_HEIC_BRANDS = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
)
_AVIF_BRANDS = frozenset({b"avif", b"avis"})

_KIND, _OLD_KIND, _WIDTH, _HEIGHT, _PHOTOMETRIC, _DNG = 254, 255, 256, 257, 262, 50706
_INNER = (330, 34665, 34853)
_KNOWN = frozenset({_KIND, _OLD_KIND, _WIDTH, _HEIGHT, _PHOTOMETRIC, _DNG, *_INNER})
"""TIFF tags that are read: NewSubfileType, SubfileType, …, DNGVersion; SubIFDs, EXIF and GPS."""

_COUNT = 0
"""Not a TIFF tag: the key in ``_Tags`` for the number of entries in a directory."""

_OF_SENSORS = (32803, 34892)
"""PhotometricInterpretation values of raw sensor data: colour filter array and linear raw."""

_REDUCED, _OLD_REDUCED = 1, 2
_NUMBERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
"""TIFF field type → format character of :mod:`struct`."""

_MOST_DIRECTORIES, _MOST_ENTRIES, _MOST_VALUES = 64, 4096, 64
"""Limits on what is read, so that a malicious file cannot use up time or memory."""

_MOST_IN_TIFF = 2**16
"""Maximum number of entries in a directory.

A BigTIFF can declare any number, and Pillow would loop over all of them.
"""

_Tags = dict[int, tuple[int, ...]]


def refuse_camera_files(path: Path) -> None:
    """Refuse camera raw files, HEIC, and TIFFs that begin with a thumbnail or have too many tags.

    All other files pass, including missing and damaged ones: opening them reports the error.

    Raises:
        UserError: the file is one of these.
    """
    with suppress(OSError), path.open("rb") as file:
        head = file.read(64)
        fault = _RAW if _is_marked(head, _MARKS) else _of_tiff(file, head) or _of_brands(head)
        if fault:
            raise UserError(f"{path}: {fault}")


def _is_marked(head: bytes, marks: tuple[tuple[int, bytes], ...]) -> bool:
    return any(head.startswith(mark, place) for place, mark in marks)


def _of_brands(head: bytes) -> str | None:
    """Return the error text for a HEIC file, found by its ``ftyp`` brands; None if it is not one.

    AVIF files have an ``ftyp`` box too and are accepted.
    """
    if head[4:8] != b"ftyp":
        return None
    size = int.from_bytes(head[:4])
    brands = {head[8:12], *(head[at : at + 4] for at in range(16, min(size, len(head)), 4))}
    return _HEIC if brands & _HEIC_BRANDS and not brands & _AVIF_BRANDS else None


def _of_tiff(file: BinaryIO, head: bytes) -> str | None:
    """Return the error text for an unsupported TIFF; None for other TIFFs and other files."""
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or head[2:4] not in (b"*\0", b"\0*", b"+\0", b"\0+"):
        return None
    if _is_marked(head, _MARKS_IN_TIFF):
        return _RAW
    big = b"+" in head[2:4]
    pictures = list(_directories(file, _Form.of(order, big), first=8 if big else 4))
    if not pictures:
        return None
    if any(tags[_COUNT][0] > _MOST_IN_TIFF for tags in pictures):
        return _DAMAGED
    if _DNG in pictures[0] or any(
        kind in _OF_SENSORS for tags in pictures for kind in tags.get(_PHOTOMETRIC, ())
    ):
        return _RAW
    first, *others = pictures
    if _is_reduced(first) and any(_area(other) > _area(first) for other in others):
        return _THUMBNAIL
    return None


def _is_reduced(tags: _Tags) -> bool:
    kind, old_kind = tags.get(_KIND, (0,)), tags.get(_OLD_KIND, (0,))
    return bool(kind[0] & _REDUCED) or old_kind[0] == _OLD_REDUCED


def _area(tags: _Tags) -> int:
    return tags.get(_WIDTH, (0,))[0] * tags.get(_HEIGHT, (0,))[0]


@dataclass(frozen=True)
class _Form:
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
    def of(cls, order: str, big: bool) -> _Form:
        """Return the layout for a byte order, of a BigTIFF if ``big``."""
        letters = ("Q", "HHQ8s", "Q") if big else ("H", "HHI4s", "I")
        return cls(order, *(struct.Struct(order + each) for each in letters))


def _directories(file: BinaryIO, form: _Form, first: int) -> Iterator[_Tags]:
    """Yield the directories of a TIFF, nested ones included, in the order of the file's pointers.

    A directory is one of the file's pictures, or a table of EXIF or GPS values. Each is yielded
    once, as tag → its numbers, for the tags of ``_KNOWN``; ``_COUNT`` → the number of its entries.
    At most ``_MOST_DIRECTORIES`` are read, so that a hostile file cannot keep the reader busy.

    Args:
        file: the TIFF.
        form: the binary layout of its numbers.
        first: file offset of the pointer to the first directory.
    """
    waiting, seen = [*_read(file, form.offset, first)], {0}
    while waiting and len(seen) <= _MOST_DIRECTORIES:
        place = waiting.pop(0)
        if place in seen:
            continue
        seen.add(place)
        for count in _read(file, form.count, place):
            tags: _Tags = {_COUNT: (count,)}
            entries = file.read(min(count, _MOST_ENTRIES) * form.entry.size)
            whole = len(entries) - len(entries) % form.entry.size
            for tag, kind, many, value in form.entry.iter_unpack(entries[:whole]):
                if tag in _KNOWN and (numbers := _numbers(file, form, kind, many, value)):
                    tags[tag] = numbers
            end = place + form.count.size + count * form.entry.size
            waiting += [inner for tag in _INNER for inner in tags.get(tag, ())]
            waiting += _read(file, form.offset, end)
            yield tags


def _numbers(file: BinaryIO, form: _Form, kind: int, many: int, value: bytes) -> tuple[int, ...]:
    """Return the numbers of a tag, stored in the entry itself or, if they do not fit, elsewhere."""
    letter = _NUMBERS.get(kind)
    if letter is None or many == 0:
        return ()
    numbers = struct.Struct(f"{form.order}{min(many, _MOST_VALUES)}{letter}")
    if many * struct.calcsize(letter) <= len(value):
        return numbers.unpack_from(value)
    return _read(file, numbers, *form.offset.unpack(value))


def _read(file: BinaryIO, numbers: struct.Struct, place: int) -> tuple[int, ...]:
    """Return the numbers at a file offset; empty if it lies outside the file.

    Opening the picture later reports such damage.
    """
    try:
        file.seek(place)
        return numbers.unpack(file.read(numbers.size))
    except (struct.error, OSError, ValueError, OverflowError):
        return ()
