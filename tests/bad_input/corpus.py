"""What a bad input is, and what may come of it: a right result, or one clear line.

Each entry spoils one thing of a sound case and says what is accepted. ``LINE`` must be refused,
``RIGHT`` must work, ``EITHER`` may do either; a result, where there is one, is looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (80, 64)
"""(width, height) of a sound case's photograph."""


class Accepted(Enum):
    """What may come of an input."""

    LINE = "one clear line"
    RIGHT = "a right result"
    EITHER = "a right result or one clear line"


@dataclass(frozen=True)
class Bad:
    """A spoilt case.

    Attributes:
        name: says what is wrong.
        spoil: spoils a sound case's folder.
        accepted: what may come of it.
        blamed: what the line must name.
        right: looks at the sound result, given the case's folder; raises AssertionError.
    """

    name: str
    spoil: Callable[[Path], object]
    accepted: Accepted
    blamed: str = ""
    right: Callable[[Path], None] | None = None

    def __str__(self) -> str:
        return self.name


def photograph() -> Image.Image:
    """A picture with a bright left and a dark right, and a gradient from top to bottom."""
    width, height = SIZE
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2] = (230, 180, 90)
    pixels[:, width // 2 :] = (40, 70, 140)
    pixels[..., 1] //= 2
    pixels[..., 1] += np.linspace(0, 120, height).astype(np.uint8)[:, None]
    return Image.fromarray(pixels)


def sound_case(folder: Path) -> Path:
    """A case without any fault, with a mask and a target word."""
    for name in ("image", "prompt"):
        (folder / name).mkdir(parents=True)
    photograph().save(folder / "image" / "original_image.jpg", quality=95)
    mask = Image.new("L", SIZE, 255)
    mask.paste(0, (20, 16, 60, 48))
    mask.save(folder / "image" / "mask.png")
    for name, text in (
        ("original_image_prompt", "a dog on a hill"),
        ("edit_image_prompt", "a cat on a hill"),
        ("target_word", "dog"),
    ):
        (folder / "prompt" / f"{name}.txt").write_text(text + "\n", encoding="utf-8")
    return folder


def require_clear(line: str, blamed: str) -> None:
    """A line is clear that names the file or setting and, after a semicolon or in words, the cure.

    Raises:
        AssertionError: it is not.
    """
    assert "\n" not in line, line
    assert blamed in line, f"{blamed!r} is not named in: {line}"
    for jargon in ("Traceback", "Errno", "unexpected", "<_io", "0x7f", "object at"):
        assert jargon not in line, line
    assert len(line) < 700, line
    cure = re.search(
        r"; \w.*|\b(did you mean|write e\.g\.|set |rename|choose|shorten|give|mend|keep one)\b",
        line,
    )
    assert cure, f"no cure in: {line}"
