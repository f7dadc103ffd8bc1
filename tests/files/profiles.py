"""Small ICC profiles to test with, of version 2.1."""

from __future__ import annotations

import struct
from collections.abc import Mapping

SRGB_PRIMARIES = ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))
"""XYZ of red, green and blue, adapted to D50."""
P3_PRIMARIES = ((0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841))

Curve = float | str


def curve_of(curve: Curve) -> bytes:
    """A gamma, or ``"srgb"`` for the curve of sRGB as a table."""
    if isinstance(curve, float):
        return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(curve * 256)) + b"\0\0"
    steps = [number / 1023 for number in range(1024)]
    values = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in steps]
    table = struct.pack(">1024H", *(round(value * 65535) for value in values))
    return b"curv\0\0\0\0" + struct.pack(">I", 1024) + table


def xyz(*values: float) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(v * 65536)) for v in values)


def _assembled(
    tags: Mapping[bytes, bytes], name: str, kind: bytes, space: bytes, connection: bytes
) -> bytes:
    label = name.encode() + b"\0"
    text = b"desc\0\0\0\0" + struct.pack(">I", len(label)) + label + bytes(78)
    tags = {b"desc": text, b"cprt": b"text\0\0\0\0none\0", b"wtpt": xyz(0.9642, 1, 0.8249), **tags}
    table, data = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for key, value in tags.items():
        value += b"\0" * (-len(value) % 4)
        table += key + struct.pack(">II", start + len(data), len(value))
        data += value
    head = struct.pack(
        ">I4sI4s4s4s", start + len(data), b"none", 0x02100000, kind, space, connection
    )
    head += bytes(12) + b"acsp" + bytes(28) + struct.pack(">iii", 63190, 65536, 54061)
    return head + bytes(128 - len(head)) + table + data


def matrix_profile(
    primaries: tuple = SRGB_PRIMARIES, curve: Curve = 2.2, name: str = "test", padding: int = 0
) -> bytes:
    """A profile of three primaries with one curve; ``padding`` bytes make it large."""
    red, green, blue = (xyz(*primary) for primary in primaries)
    tags = {b"rXYZ": red, b"gXYZ": green, b"bXYZ": blue}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve_of(curve))
    if padding:
        tags[b"pad "] = b"data\0\0\0\0" + bytes(padding)
    return _assembled(tags, name, b"mntr", b"RGB ", b"XYZ ")


def swapped_profile() -> bytes:
    """SRGB with its red and green primaries swapped, and a gamma of 2.2."""
    red, green, blue = SRGB_PRIMARIES
    return matrix_profile((green, red, blue), 2.2, "swapped")


def grey_profile(curve: Curve, name: str = "grey") -> bytes:
    """A profile of grey pictures."""
    return _assembled({b"kTRC": curve_of(curve)}, name, b"mntr", b"GRAY", b"XYZ ")


def scanner_profile() -> bytes:
    """A profile of a table that leads to other colours and not back; red and green are swapped."""
    lab = {
        (0, 0, 0): (0, 0, 0), (1, 0, 0): (88, -79, 81), (0, 1, 0): (54, 81, 70),
        (0, 0, 1): (30, 68, -112), (1, 1, 0): (98, -16, 93), (1, 0, 1): (90, -51, -15),
        (0, 1, 1): (61, 94, -60), (1, 1, 1): (100, 0, 0),
    }  # fmt: skip
    identity = bytes(range(256)) * 3
    grid = b"".join(
        bytes((round(lab[r, g, b][0] * 2.55), lab[r, g, b][1] + 128, lab[r, g, b][2] + 128))
        for r in (0, 1)
        for g in (0, 1)
        for b in (0, 1)
    )
    matrix = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    table = b"mft1\0\0\0\0" + bytes((3, 3, 2, 0)) + matrix + identity + grid + identity
    return _assembled({b"A2B0": table}, "scanner", b"scnr", b"RGB ", b"Lab ")
