"""Pictures embedded in the page as data URIs: thumbnails, masks, blend masks and attention maps.

The page must stay small for any number of pictures, so more pictures mean smaller thumbnails. A
cache beside the results, keyed by the content of the original file, makes rebuilding a page fast.
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
from editinfinity.files.maps import ATTENTION, KERNEL, PromptMaps, normalised
from editinfinity.files.opening import open_picture, open_small
from editinfinity.files.pixels import to_rgb
from editinfinity.files.tensors import load_arrays
from editinfinity.planning import fingerprint

BUDGET = 36_000_000
"""Maximum size of all thumbnails together, in bytes; the whole page stays below 40 MB."""

SIDES = (480, 400, 320, 256, 192, 128, 96, 64)
"""Possible longer sides of thumbnails, in pixels; the first that fits the budget is used."""

_TYPICAL = 0.16
"""Estimated bytes of data URI per pixel of a photograph; used to skip sizes that cannot fit."""

_QUALITY = 72
_MASK_SIDE = 256
_TINT = (255, 64, 64)
"""Colour (RGB) of the editable region in an overlay on the photograph."""

_MAX_OPACITY = 150
"""Opacity, of 255, of the overlay where editing is unrestricted."""


class ThumbnailCache:
    """A folder of small pictures, keyed by the content of the original file.

    Args:
        folder: path of the cache; created when the first picture is stored.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.used: set[str] = set()

    def get(self, path: Path, suffix: str, make: Callable[[Path], bytes]) -> bytes | None:
        """Return the small picture of a file, from the cache or newly made.

        Args:
            path: the original file.
            suffix: end of the file name in the cache; it identifies the kind of small picture.
            make: creates the small picture of a path.

        Returns:
            The bytes of the picture; None if it cannot be made.
        """
        if not path.is_file():
            return None
        name = f"{fingerprint.of_file(path)}-{suffix}"
        self.used.add(name)
        with suppress(OSError):
            return (self.folder / name).read_bytes()
        with suppress(UserError, OSError, ValueError, MemoryError):
            data = make(path)
            with suppress(UserError):  # if the disk is full, the picture is only not cached
                write_bytes(self.folder / name, data)
            return data
        return None

    def remove_unused(self) -> None:
        """Remove the pictures that have not been used."""
        for path in [*self.folder.glob("[!.]*.webp"), *self.folder.glob("[!.]*.png")]:
            if path.name not in self.used:
                with suppress(OSError):
                    path.unlink()


def thumbnails(
    paths: Iterable[Path], cache: ThumbnailCache, budget: int = BUDGET
) -> dict[Path, str]:
    """Make thumbnails that are as large as the budget allows.

    Args:
        paths: pictures of any format that ``open_picture`` supports.
        cache: the cache of thumbnails.
        budget: maximum size of all data URIs together, in bytes.

    Returns:
        Path → data URI; pictures that cannot be read are missing.
    """
    unique = list(dict.fromkeys(paths))
    too_large = [side for side in SIDES[:-1] if len(unique) * side * side * _TYPICAL > budget * 2]
    for side in SIDES[len(too_large) :]:
        cache.used.clear()
        uris = _of_side(unique, cache, side)
        if sum(map(len, uris.values())) <= budget:
            break
    return uris  # at the smallest size if none fits the budget


def mask_overlay(path: Path, cache: ThumbnailCache) -> str | None:
    """Return a tinted overlay of a mask picture's editable (black) region; None if unreadable."""
    data = cache.get(path, "mask.png", _mask)
    return None if data is None else _uri("png", data)


def blend_mask_overlay(path: Path) -> str | None:
    """Return a tinted map of how freely each cell may be edited; None if unreadable."""
    with suppress(UserError):
        arrays, _ = load_arrays(path, KERNEL, [KERNEL])
        return _uri("png", _tinted(1 - np.clip(arrays[KERNEL], 0, 1)))
    return None


def attention_overlay(path: Path) -> str | None:
    """Return an attention map in the colours of the heat map; None if it cannot be read."""
    with suppress(UserError):
        arrays, _ = load_arrays(path, ATTENTION, [ATTENTION])
        return _heatmap(normalised(arrays[ATTENTION]))
    return None


def prompt_map_overlay(path: Path, find_mask: str) -> str | None:
    """As ``attention_overlay``, of the map ``words``, ``bits`` or ``both``."""
    with suppress(UserError):
        return _heatmap(PromptMaps.load(path).of(find_mask))
    return None


def _heatmap(unit: NDArray[np.floating]) -> str:
    pixels = np.dstack([colours_of(unit), 90 + 120 * unit]).astype(np.uint8)
    return _uri("png", _png(Image.fromarray(pixels)))


def _mask(path: Path) -> bytes:
    mask = open_picture(path).convert("L")
    mask.thumbnail((_MASK_SIDE, _MASK_SIDE), Image.Resampling.BOX)
    return _tinted(1 - np.asarray(mask, np.float32) / 255)


def _tinted(opacities: NDArray[np.floating]) -> bytes:
    """Return a PNG of one colour whose opacity is given by ``opacities`` (h, w) in [0, 1]."""
    alpha = np.round(opacities * _MAX_OPACITY).astype(np.uint8)
    tint = np.broadcast_to(np.array(_TINT, np.uint8), (*alpha.shape, 3))
    return _png(Image.fromarray(np.dstack([tint, alpha])))


def _png(picture: Image.Image) -> bytes:
    data = io.BytesIO()
    picture.save(data, "PNG")
    return data.getvalue()


def _uri(image_type: str, data: bytes) -> str:
    return f"data:image/{image_type};base64,{base64.b64encode(data).decode('ascii')}"


def _of_side(paths: Iterable[Path], cache: ThumbnailCache, side: int) -> dict[Path, str]:
    """Return path → thumbnail, as a data URI; leave out pictures that cannot be read."""

    def thumbnail(path: Path) -> tuple[Path, str] | None:
        data = cache.get(path, f"{side}.webp", lambda path: _webp(path, side))
        return None if data is None else (path, _uri("webp", data))

    # Threads help because Pillow releases the GIL.
    with ThreadPoolExecutor() as pool:
        return dict(filter(None, pool.map(thumbnail, paths)))


def _webp(path: Path, side: int) -> bytes:
    """Return an upright sRGB thumbnail as WebP."""
    picture = open_small(path, side)
    if picture.mode == "RGB":  # other modes scale badly, or not at all
        picture.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2)
    picture = to_rgb(picture)
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    picture = to_srgb(picture, picture.info.get("icc_profile"))
    picture.save(data, "WEBP", quality=_QUALITY, method=4)
    return data.getvalue()
