"""Read blend masks that users made themselves, as a file or an array.

A blend mask holds a number from 0 to 1 for each cell of the model's grid: 1 keeps the photograph's
code, 0 takes the generated one. This module does not import torch.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from editinfinity.errors import UserError, first_sentence
from editinfinity.files.input_files import BLEND_ENDINGS, require_file
from editinfinity.files.maps import Map
from editinfinity.files.opening import open_as, size_upright
from editinfinity.files.pixels import is_transparent
from editinfinity.scales import Grid

_MAX_BYTES = 2**24
"""Maximum size of a file; a grid has about 4,096 cells."""


_ROUNDING = 1e-5
"""How far values may be outside of [0, 1], as after resizing in float32; they are clipped."""


def read_blend(path: Path, grid: Grid) -> Map:
    """Read a blend mask from a file.

    Args:
        path: an array of floats (``.npy``), one tensor of floats (``.safetensors``) or a grey PNG,
            whose white pixels are 1.
        grid: rows and columns of cells, ``scales.reference_grid`` of the model's crop.

    Returns:
        (h, w) fp32 in [0, 1], 1 keeps the photograph.

    Raises:
        UserError: the file cannot be read, or is not a blend mask of this grid.
    """
    ending = path.suffix.strip().lower()
    if ending not in BLEND_ENDINGS:
        raise UserError(f"{path}: does not end in .npy, .safetensors or .png; save it as one")
    require_file(path, _MAX_BYTES, "put the blend mask there")
    if ending == ".png":
        _require_grid(size_upright(path), grid, path)  # before it is decoded
        return open_as(path, lambda image: _values_of_picture(image, path))
    return check_blend(_read_npy(path) if ending == ".npy" else _read_tensor(path), grid, path)


def check_blend(values: object, grid: Grid, name: Path | str = "blend") -> Map:
    """Check that an array is a blend mask, and return it as fp32.

    Args:
        values: the array.
        grid: rows and columns of cells.
        name: its name, for messages.

    Raises:
        UserError: it is not an array of floats from 0 to 1, or has another grid.
    """
    if not isinstance(values, np.ndarray):
        raise UserError(f"{name}: is a {type(values).__name__}; give a NumPy array of floats")
    # Integers and bools are ambiguous: they may be grey values, or mark what is edited.
    if values.dtype.kind != "f":
        raise UserError(
            f"{name}: has type {values.dtype}; save it as float32, from 0 to 1 (1 keeps)"
        )
    _require_grid(values.shape, grid, name)
    if np.isnan(values).any():
        raise UserError(f"{name}: contains NaN; give a number from 0 to 1 for each cell")
    low, high = float(values.min()), float(values.max())
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        raise UserError(
            f"{name}: has values from {low:g} to {high:g}; scale or clip them to 0 … 1 (1 keeps)"
        )
    return np.clip(values, 0, 1).astype(np.float32)


def _require_grid(shape: tuple[int, ...], grid: Grid, name: Path | str) -> None:
    if tuple(shape) != tuple(grid):
        actual = "×".join(map(str, shape)) or "a single number"
        raise UserError(
            f"{name}: has a grid of {actual}, but the photograph's is {grid[0]}×{grid[1]} (rows × "
            "columns); resize it to that"
        )


def _read_npy(path: Path) -> NDArray[np.generic]:
    try:
        # Mapping the file checks its size before memory is allocated, and never unpickles.
        return np.array(np.lib.format.open_memmap(path, mode="r"))
    except Exception as error:  # damaged headers raise almost any exception
        reason = first_sentence(error)
        raise UserError(
            f"{path}: is not an array of numbers ({reason}); write it with numpy.save"
        ) from None


def _read_tensor(path: Path) -> NDArray[np.generic]:
    from safetensors import safe_open

    try:
        with safe_open(path, framework="np") as file:
            names = sorted(file.keys())
            tensors = [file.get_tensor(name) for name in names[:1]]
    except Exception as error:  # also for a dtype that NumPy does not have, such as bfloat16
        reason = first_sentence(error)
        raise UserError(
            f"{path}: cannot be read as safetensors ({reason}); save one float32 tensor"
        ) from None
    if len(names) != 1:
        raise UserError(f"{path}: contains {len(names)} tensors; save only the blend mask")
    return np.asarray(tensors[0])


def _values_of_picture(image: Image.Image, path: Path) -> Map:
    if image.format != "PNG":
        raise UserError(f"{path}: is {image.format}, whose values are not exact; save it as PNG")
    if image.mode.startswith("I"):  # 16 bits
        return np.asarray(image, np.float32) / np.float32(65535)
    if is_transparent(image) and image.convert("RGBA").getchannel("A").getextrema() != (255, 255):
        raise UserError(f"{path}: has transparent pixels; save it as grey without transparency")
    red, green, blue = (np.asarray(band) for band in image.convert("RGB").split())
    if not (np.array_equal(red, green) and np.array_equal(red, blue)):
        raise UserError(f"{path}: is in colour; save it as grey (white keeps the photograph)")
    return np.asarray(red, np.float32) / np.float32(255)
