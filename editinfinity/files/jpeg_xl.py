"""The size of a JPEG XL picture, read from its header (ISO/IEC 18181-1).

The package that opens JPEG XL decodes all pixels at once. Their number has to be known before, so
that a small file that declares a huge picture is refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

_MAX_HEADER = 16
"""Bytes that are enough for the header's size: 2 + 11 in the longest form."""

_MAX_BOXES = 64
"""Boxes that are looked at, so that a malicious file cannot use up time."""

_SIZE_BITS = (9, 13, 18, 30)
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
"""Code → width : height; code 0 means that the width is given too."""


def size_of_jpeg_xl(path: Path) -> tuple[int, int]:
    """Return (width, height) as stored; they may be swapped in the upright picture.

    Raises:
        ValueError: the file has no such header.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return _size_in(_Bits(_codestream(file)))


def _codestream(file: BinaryIO) -> bytes:
    """Return the first bytes of the codestream, which may be in a box (``jxlc`` or ``jxlp``)."""
    head = file.read(_MAX_HEADER)
    if head.startswith(b"\xff\x0a"):
        return head[2:]
    position = 0
    for _ in range(_MAX_BOXES):
        file.seek(position)
        head = file.read(16)
        length, kind = int.from_bytes(head[:4]), head[4:8]
        start = position + (16 if length == 1 else 8)
        if kind in (b"jxlc", b"jxlp"):
            file.seek(start + (4 if kind == b"jxlp" else 0))  # a part has a number
            return file.read(_MAX_HEADER)[2:]
        if length == 1:
            length = int.from_bytes(head[8:16])
        if length < 8:
            break
        position += length
    raise ValueError("no codestream")


class _Bits:
    """Reads numbers from bytes, the lowest bit first."""

    def __init__(self, data: bytes) -> None:
        if len(data) < _MAX_HEADER - 4:
            raise ValueError("no header")
        self._value = int.from_bytes(data, "little")

    def take(self, count: int) -> int:
        """Return the next ``count`` bits as a number."""
        number = self._value & ((1 << count) - 1)
        self._value >>= count
        return number


def _size_in(bits: _Bits) -> tuple[int, int]:
    is_small = bits.take(1)  # a multiple of 8, at most 256

    def side() -> int:
        if is_small:
            return (bits.take(5) + 1) * 8
        return bits.take(_SIZE_BITS[bits.take(2)]) + 1

    height, ratio = side(), bits.take(3)
    if ratio == 0:
        return side(), height
    width, base = _RATIOS[ratio]
    return height * width // base, height
