"""What a type checker knows of the Python API. ``make check`` runs mypy on this file."""

from pathlib import Path
from typing import assert_type

from PIL import Image

from editinfinity import EditInfinityPipeline, Inversion, Progress


def edits(photograph: Path) -> None:
    pipe = EditInfinityPipeline.from_pretrained("tiny")
    inversion = pipe.invert(photograph, "a dog")
    assert_type(inversion, Inversion)
    assert_type(pipe.edit(inversion, "a cat", mask="mask.png", seed=1), Image.Image)
    assert_type(pipe.edit(inversion, ["a cat", "a cow"], cfg=3.5), list[Image.Image])
    EditInfinityPipeline.from_pretrained(photograph.parent)
    steps = list[Progress]()
    pipe.invert(photograph, "a dog", on_progress=steps.append)
    pipe.edit(inversion, "a cat", on_progress=lambda progress: print(progress.step / progress.of))
    assert_type(steps[0].loss, float | None)
    pipe.edit(inversion, "a cat", seeed=1)  # type: ignore[call-overload]
    pipe.edit(inversion, "a cat", background="exakt")  # type: ignore[call-overload]
