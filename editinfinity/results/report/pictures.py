"""Small pictures inside the page, as data URIs: thumbnails, masks, kernels and attention maps.

The page must stay small however many pictures there are, so thumbnails shrink with their number.
They are kept beside the results, by the content of what they show: a page made again is made
quickly.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from editinfinity.errors import UserError
from editinfinity.files.atomic import write_bytes
from editinfinity.files.colour import to_srgb
from editinfinity.files.heatmap import colours_of
from editinfinity.files.maps import ATTENTION, KERNEL
from editinfinity.files.opening import open_picture, open_small
from editinfinity.files.pixels import to_rgb
from editinfinity.files.tensors import load_arrays
from editinfinity.planning import fingerprint

BUDGET = 36_000_000
"""Bytes of all thumbnails together; with the rest, a page stays below 40 MB."""

SIDES = (480, 400, 320, 256, 192, 128, 96, 64)
"""Longest sides of thumbnails in pixels; the first whose pictures fit the budget is taken."""

_TYPICAL = 0.16
"""Bytes of data URI that a pixel of a photograph takes, for a first guess."""

_QUALITY = 72
_MASK_SIDE = 256
_TINT = (255, 64, 64)
"""Colour of what may be edited, over the photograph."""

_SHADE = 150
"""Opacity of 255 where it may be edited freely."""


class ThumbnailCache:
    """A folder of small pictures made before, by the content of what they show.

    Args:
        folder: made when something is put there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.used: set[str] = set()

    def take(self, path: Path, ending: str, make: Callable[[Path], bytes]) -> bytes | None:
        """The small picture of a file, made if it is not there; None if it cannot be made.

        Args:
            path: what it shows.
            ending: what kind of small picture it is; the end of its file's name.
            make: makes it.
        """
        if not path.is_file():
            return None
        name = f"{fingerprint.of_file(path)}-{ending}"
        self.used.add(name)
        with suppress(OSError):
            return (self.folder / name).read_bytes()
        with suppress(UserError, OSError, ValueError, MemoryError):
            data = make(path)
            with suppress(UserError):  # a full disk must not cost the page its pictures
                write_bytes(self.folder / name, data)
            return data
        return None

    def tidy(self) -> None:
        """Remove what was not used."""
        for path in [*self.folder.glob("[!.]*.webp"), *self.folder.glob("[!.]*.png")]:
            if path.name not in self.used:
                with suppress(OSError):
                    path.unlink()


def thumbnails(
    paths: Iterable[Path], shelf: ThumbnailCache, budget: int = BUDGET
) -> dict[Path, str]:
    """Thumbnails as large as the budget allows.

    Args:
        paths: pictures of any kind that ``open_picture`` knows.
        shelf: with those made before.
        budget: bytes of all data URIs together.

    Returns:
        Path → data URI; pictures that cannot be read are missing.
    """
    wanted = list(dict.fromkeys(paths))
    guessed = [side for side in SIDES[:-1] if len(wanted) * side * side * _TYPICAL > budget * 2]
    for side in SIDES[len(guessed) :]:
        shelf.used.clear()
        uris = _of_side(wanted, shelf, side)
        if sum(map(len, uris.values())) <= budget:
            break
    return uris  # of the last side, whatever they need


def mask_overlay(path: Path, shelf: ThumbnailCache) -> str | None:
    """The edited region of a mask's picture (black), tinted; None if it cannot be read."""
    data = shelf.take(path, "mask.png", _mask)
    return None if data is None else _uri("png", data)


def kernel_overlay(path: Path) -> str | None:
    """How freely each cell is edited, tinted; None if the kernel cannot be read."""
    with suppress(UserError):
        arrays, _ = load_arrays(path, KERNEL, [KERNEL])
        return _uri("png", _tinted(1 - np.clip(arrays[KERNEL], 0, 1)))
    return None


def attention_overlay(path: Path) -> str | None:
    """An attention map in the heat map's colours; None if it cannot be read."""
    with suppress(UserError):
        arrays, _ = load_arrays(path, ATTENTION, [ATTENTION])
        values = arrays[ATTENTION]
        low, high = float(values.min()), float(values.max())
        unit = (values - low) / (high - low if high > low else 1)
        pixels = np.dstack([colours_of(unit), 90 + 120 * unit]).astype(np.uint8)
        return _uri("png", _png(Image.fromarray(pixels)))
    return None


def _mask(path: Path) -> bytes:
    mask = open_picture(path).convert("L")
    mask.thumbnail((_MASK_SIDE, _MASK_SIDE), Image.Resampling.BOX)
    return _tinted(1 - np.asarray(mask, np.float32) / 255)


def _tinted(shares: NDArray[np.floating]) -> bytes:
    """Shares (h, w) in [0, 1] as opacity of one colour."""
    alpha = np.round(shares * _SHADE).astype(np.uint8)
    tint = np.broadcast_to(np.array(_TINT, np.uint8), (*alpha.shape, 3))
    return _png(Image.fromarray(np.dstack([tint, alpha])))


def _png(picture: Image.Image) -> bytes:
    data = io.BytesIO()
    picture.save(data, "PNG")
    return data.getvalue()


def _uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _of_side(paths: Iterable[Path], shelf: ThumbnailCache, side: int) -> dict[Path, str]:
    """Path → thumbnail."""

    def one(path: Path) -> tuple[Path, str] | None:
        data = shelf.take(path, f"{side}.webp", lambda path: _webp(path, side))
        return None if data is None else (path, _uri("webp", data))

    # Pillow works outside Python's lock.
    with ThreadPoolExecutor() as pool:
        return dict(filter(None, pool.map(one, paths)))


def _webp(path: Path, side: int) -> bytes:
    """A small picture, upright, as sRGB."""
    picture = open_small(path, side)
    if picture.mode == "RGB":  # other modes scale badly, or not at all
        picture.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2)
    picture = to_rgb(picture)
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    picture = to_srgb(picture, picture.info.get("icc_profile"))
    picture.save(data, "WEBP", quality=_QUALITY, method=4)
    return data.getvalue()
