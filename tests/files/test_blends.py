"""Blend masks of the user's own: what is read, and how what is wrong is told."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from editinfinity.errors import UserError
from editinfinity.files.blends import check_blend, read_blend
from tests.bad_input.corpus import require_clear

GRID = (56, 70)
RAMP = np.linspace(0, 1, 56 * 70, dtype=np.float32).reshape(GRID)


def saved(folder: Path, values: np.ndarray, name: str = "blend.npy") -> Path:
    np.save(folder / name, values)
    return folder / name


@pytest.mark.parametrize(
    "values",
    [RAMP, RAMP.astype(np.float64), RAMP.astype(">f4"), np.asfortranarray(RAMP)],
    ids=["float32", "float64", "big endian", "fortran"],
)
def test_arrays_and_tensors_are_taken_as_they_are(tmp_path: Path, values: np.ndarray) -> None:
    found = read_blend(saved(tmp_path, values), GRID)
    assert np.array_equal(found, RAMP)
    assert (found.dtype, found.shape) == (np.float32, GRID)
    save_file({"any name": RAMP}, tmp_path / "blend.safetensors")
    assert np.array_equal(read_blend(tmp_path / "blend.safetensors", GRID), RAMP)


def test_white_of_a_grey_picture_keeps(tmp_path: Path) -> None:
    grey = np.rint(RAMP * 255).astype(np.uint8)
    path = tmp_path / "blend.png"
    for picture in (
        Image.fromarray(grey),
        Image.fromarray(grey).convert("RGB"),
        Image.fromarray(grey).convert("RGBA"),
    ):
        picture.save(path)
        assert np.array_equal(read_blend(path, GRID), grey.astype(np.float32) / 255)
    assert read_blend(path, GRID)[-1, -1] == 1.0  # exactly: those pixels stay
    Image.fromarray(np.rint(RAMP * 65535).astype(np.uint16)).save(path)
    assert np.allclose(read_blend(path, GRID), RAMP, atol=1e-5)
    Image.fromarray(RAMP > 0.5).save(path)  # black and white
    assert np.array_equal(read_blend(path, GRID), RAMP > 0.5)


def text(path: Path) -> None:
    path.write_text("1 keeps")


def hollow(path: Path) -> None:
    """A header of terabytes, and no values."""
    buffer = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": (2**20, 2**20)}
    np.lib.format.write_array_header_1_0(buffer, header)
    path.write_bytes(buffer.getvalue())


OPENED: list[str] = []
"""Filled where a pickle is loaded."""


def spring() -> None:
    OPENED.append("a pickle")


class Trap:
    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return spring, ()


WRONG: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "another grid": ("npy", lambda p: np.save(p, np.ones((64, 64))), "a grid of 64×64, but the"),
    "turned": ("npy", lambda p: np.save(p, RAMP.T), "is 56×70"),
    "a batch": ("npy", lambda p: np.save(p, RAMP[None]), "a grid of 1×56×70"),
    "a number": ("npy", lambda p: np.save(p, np.float32(1)), "a grid of a single number"),
    "empty": ("npy", lambda p: np.save(p, np.ones((0, 70))), "blend"),
    "above 1": ("npy", lambda p: np.save(p, RAMP * 255), "has values from 0 to 255; scale"),
    "below 0": ("npy", lambda p: np.save(p, RAMP - 0.5), "has values from -0.5 to 0.5"),
    "nan": ("npy", lambda p: np.save(p, np.where(RAMP > 0.9, np.nan, RAMP)), "contains NaN"),
    "infinite": ("npy", lambda p: np.save(p, np.where(RAMP > 0.9, np.inf, RAMP)), "to inf"),
    "bytes": ("npy", lambda p: np.save(p, (RAMP * 255).astype(np.uint8)), "has type uint8"),
    "bool": ("npy", lambda p: np.save(p, RAMP > 0.5), "has type bool"),
    "complex": ("npy", lambda p: np.save(p, RAMP * 1j), "has type complex"),
    "objects": ("npy", lambda p: np.save(p, np.full(GRID, Trap())), "not an array of numbers"),
    "a pickle": ("npy", lambda p: p.write_bytes(pickle.dumps(Trap())), "not an array of numbers"),
    "an archive": ("npy", lambda p: np.savez(p.open("wb"), a=RAMP), "not an array of numbers"),
    "text": ("npy", text, "not an array of numbers"),
    "nothing": ("npy", Path.touch, "not an array of numbers"),
    "a huge header": ("npy", hollow, "not an array of numbers"),
    "cut": ("npy", lambda p: p.write_bytes(saved(p.parent, RAMP, "x.npy").read_bytes()[:900]),
            "not an array of numbers"),
    "too large": ("npy", lambda p: np.save(p, np.ones((2**11, 2**11))), "the limit is 16 MiB"),
    "a folder": ("npy", Path.mkdir, "is a folder, not a file"),
    "missing": ("npy", lambda p: None, "there is no such file; put the blend mask there"),
    "two tensors": ("safetensors", lambda p: save_file({"a": RAMP, "b": RAMP}, p), "2 tensors"),
    "no tensor": ("safetensors", lambda p: save_file({}, p), "contains 0 tensors"),
    "no safetensors": ("safetensors", text, "cannot be read as safetensors"),
    "a tensor turned": ("safetensors", lambda p: save_file({"a": RAMP.T.copy()}, p), "is 56×70"),
    "colour": ("png", lambda p: Image.new("RGB", (70, 56), "red").save(p), "is in colour"),
    "transparent": ("png", lambda p: Image.new("LA", (70, 56)).save(p), "transparent pixels"),
    "a jpeg": ("png", lambda p: Image.new("L", (70, 56)).save(p, "JPEG"), "is JPEG, whose values"),
    "a large picture": ("png", lambda p: Image.new("L", (320, 256)).save(p), "a grid of 256×320"),
    "no picture": ("png", text, "is not a picture"),
    "torch's": ("pt", text, "does not end in .npy, .safetensors or .png"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_told_in_a_line(tmp_path: Path, name: str) -> None:
    ending, spoil, said = WRONG[name]
    path = tmp_path / f"blend.{ending}"
    spoil(path)
    with pytest.raises(UserError) as fault:
        read_blend(path, GRID)
    assert said in str(fault.value)
    require_clear(str(fault.value), str(path))
    assert OPENED == []


def test_arrays_in_memory_are_checked_too() -> None:
    assert np.array_equal(check_blend(RAMP, GRID), RAMP)
    for wrong in (RAMP.tolist(), RAMP > 0.5, RAMP * 2, RAMP[:10], None):
        with pytest.raises(UserError, match="^blend: ") as fault:
            check_blend(wrong, GRID)
        require_clear(str(fault.value), "blend")
