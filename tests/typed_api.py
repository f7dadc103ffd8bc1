"""What a type checker knows of the Python API. ``make check`` runs mypy on this file."""

from pathlib import Path
from typing import assert_type

from PIL import Image

from editinfinity import EditInfinityPipeline, Inversion


def edits(photograph: Path) -> None:
    pipe = EditInfinityPipeline.from_pretrained("tiny")
    inversion = pipe.invert(photograph, "a dog")
    assert_type(inversion, Inversion)
    assert_type(pipe.edit(inversion, "a cat", mask="mask.png", seed=1), Image.Image)
    assert_type(pipe.edit(inversion, ["a cat", "a cow"], cfg=3.5), list[Image.Image])
    pipe.edit(inversion, "a cat", seeed=1)  # type: ignore[call-overload]
    pipe.edit(inversion, "a cat", background="exakt")  # type: ignore[call-overload]
