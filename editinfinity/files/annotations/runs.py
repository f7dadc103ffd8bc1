"""Decode masks of pixels that are stored as run lengths: COCO's, CVAT's and Label Studio's.

pycocotools would decode only the first of them. Its C code trusts the counts and the size that a
file states; here they are checked before anything is allocated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from editinfinity.files.annotations.areas import AnnotationError
from editinfinity.files.geometry import ASPECT_TOLERANCE, Size
from editinfinity.files.opening import MAX_PIXELS

_MAX_GROUP = 7
"""Maximum number of characters of one count in COCO's text; 32 bits need no more."""

_MAX_TEXT = 2**24
"""Maximum number of characters of all counts in COCO's text. Decoding takes about 40 times that."""

_DAMAGED = "has a damaged run-length mask; export it again"


def checked_size(height: Any, width: Any, picture: Size | None = None) -> Size:
    """Return (height, width) of a mask.

    Args:
        height, width: from the file.
        picture: (height, width) whose aspect ratio the mask must have, if it covers the picture.

    Raises:
        AnnotationError: the size is not that of a mask, or does not fit the picture.
    """
    size = int(height), int(width)
    if min(size) < 1 or size[0] * size[1] > MAX_PIXELS:
        raise AnnotationError(f"has a mask of {_short(size)} pixels; export it again")
    if picture is not None:
        ratio = size[1] / size[0] / (picture[1] / picture[0])
        if abs(ratio - 1) > ASPECT_TOLERANCE:
            raise AnnotationError(
                f"has a mask of {_short(size)} pixels on a picture of {_short(picture)}; "
                "export it again"
            )
    return size


def mask_of_coco(mask: Any, picture: Size) -> NDArray[np.bool_]:
    """Decode a mask of COCO's API: ``{"size": [h, w], "counts": text or list}``.

    The counts are the lengths of runs of unmarked and marked pixels in turn, column by column.

    Args:
        mask: from the file.
        picture: (height, width) of the annotated picture.

    Returns:
        (h, w) bool.

    Raises:
        AnnotationError: the mask is damaged or does not fit the picture.
    """
    size, counts = mask["size"], mask["counts"]
    if not isinstance(size, list) or len(size) != 2:
        raise AnnotationError("has a run-length mask without size; export it again")
    height, width = checked_size(size[0], size[1], picture)
    if isinstance(counts, str):
        counts = _counts_of_text(counts)
    return _expand(counts, height * width).reshape(width, height).T


def mask_of_counts(counts: Sequence[int], size: Size) -> NDArray[np.bool_]:
    """Decode a mask of CVAT: as COCO's counts, but row by row.

    Args:
        counts: lengths of the runs.
        size: (height, width) of the mask, from ``checked_size``.

    Returns:
        (height, width) bool.

    Raises:
        AnnotationError: the counts do not fit the size.
    """
    return _expand(counts, size[0] * size[1]).reshape(size)


def _expand(counts: Any, pixels: int) -> NDArray[np.bool_]:
    """Return ``pixels`` values: alternating runs of False and True."""
    if not isinstance(counts, (list, np.ndarray)) or len(counts) > pixels + 1:
        raise AnnotationError(_DAMAGED)
    if isinstance(counts, list) and not all(
        type(count) is int and 0 <= count <= pixels for count in counts
    ):
        raise AnnotationError(_DAMAGED)
    lengths = np.asarray(counts, np.int64)
    if (lengths < 0).any() or (lengths > pixels).any() or int(lengths.sum()) != pixels:
        raise AnnotationError(_DAMAGED)
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)


def _counts_of_text(text: str) -> NDArray[np.int64]:
    """Return the counts of COCO's compressed text.

    Each character has 6 bits: 5 bits of a signed number, lowest first, and one that says whether
    more follow. From the fourth on, the numbers are differences to the count before the last.
    """
    if len(text) > _MAX_TEXT:
        raise AnnotationError("has a run-length mask of too many runs; export polygons")
    codes = np.frombuffer(text.encode("latin-1"), np.uint8).astype(np.int64) - ord("0")
    if not len(codes) or codes.min() < 0 or codes.max() > 63 or codes[-1] & 32:
        raise AnnotationError(_DAMAGED)
    ends = np.flatnonzero(codes & 32 == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > _MAX_GROUP:
        raise AnnotationError(_DAMAGED)
    places = np.arange(len(codes)) - np.repeat(starts, lengths)
    values = np.add.reduceat((codes & 31) << 5 * places, starts)
    values -= np.where(codes[ends] & 16, np.int64(1) << 5 * lengths, 0)
    values[1::2] = values[1::2].cumsum()
    values[2::2] = values[2::2].cumsum()
    return values


def mask_of_label_studio(data: Any, size: Size) -> NDArray[np.bool_]:
    """Decode a brush mask of Label Studio: RGBA pixels, packed by its library "rle-pack".

    A head states the number of values, the bits of a value, and four bit sizes of run lengths. Then
    come blocks: whether one value is repeated, which bit size the length has, the length less one,
    and the value or values. Pixels whose alpha is not zero are marked.

    Args:
        data: list of bytes.
        size: (height, width) of the mask, from ``checked_size``.

    Returns:
        (height, width) bool.

    Raises:
        AnnotationError: the data are damaged or do not fit the size.
    """
    total = 4 * size[0] * size[1]
    bits = _Bits(bytes(data) if isinstance(data, list) else b"")
    stated, value_bits = bits.read(32), bits.read(5) + 1
    length_bits = [bits.read(4) + 1 for _ in range(4)]
    if stated != total or value_bits != 8:
        raise AnnotationError(_DAMAGED)
    values, filled = np.zeros(total, np.uint8), 0
    while filled < total:
        is_repeated = bits.read(1)
        length = bits.read(length_bits[bits.read(2)]) + 1
        if length > total - filled:
            raise AnnotationError(_DAMAGED)
        block = values[filled : filled + length]
        if is_repeated:
            block[:] = bits.read(8)
        else:
            block[:] = np.frombuffer(bits.read(8 * length).to_bytes(length, "big"), np.uint8)
        filled += length
    return (values[3::4] > 0).reshape(size)


class _Bits:
    """Reads whole numbers of any number of bits, highest bit first."""

    def __init__(self, data: bytes) -> None:
        self._data, self._position = data, 0

    def read(self, count: int) -> int:
        start, end = self._position, self._position + count
        if end > 8 * len(self._data):
            raise AnnotationError(_DAMAGED)
        self._position = end
        covering = int.from_bytes(self._data[start // 8 : -(-end // 8)], "big")
        return (covering >> -end % 8) & ((1 << count) - 1)


def _short(size: Size) -> str:
    """Return WIDTH×HEIGHT for messages; numbers from a hostile file may be very long."""
    return "×".join(str(side) if abs(side) < 10**9 else "…" for side in reversed(size))
