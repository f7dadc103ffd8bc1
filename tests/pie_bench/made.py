"""A made benchmark in the released layout: simple drawings, every type of edit, odd masks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

SIDE = 512
PIXELS = SIDE * SIDE

COLOURS = ("red", "green", "blue", "yellow", "purple", "orange", "white", "black")
THINGS = ("ball", "box", "kite", "plate")

ODD_MASKS: dict[str, list[int]] = {
    "empty": [],
    "full": [0, PIXELS],
    "past the end": [PIXELS - 700, 5000, PIXELS + 9, 3],
    "overlapping": [1000, 400, 1200, 400, 1000, 400],
    "zero lengths": [70_000, 0, 80_000, 1],
}

HOSTILE: dict[str, Any] = {
    "../../etc": {"image_path": "a.jpg"},
    "900000000000": "no object",
    "900000000001": {"image_path": "../../../etc/passwd"},
    "900000000002": {"image_path": "gone.jpg"},
    "900000000003": {"mask": [1, 2, 3]},
    "900000000004": {"mask": "everything"},
    "900000000005": {"mask": [0, -4]},
    "900000000006": {"mask": [0, 1.5]},
    "900000000007": {"editing_type_id": "12"},
    "900000000008": {"editing_prompt": "  "},
    "900000000009": {"original_prompt": ["a", "b"]},
    "900000000010": {"image_path": "nul\0byte.jpg"},
    "900000000011": {"editing_prompt": "half \ud800"},
}
"""What to lay over a sound entry so that it cannot be used; or in its place."""


def box_runs(left: int, top: int, width: int, height: int) -> list[int]:
    """Runs of a box, a row each."""
    return [number for y in range(top, top + height) for number in (y * SIDE + left, width)]


def entry(index: int) -> dict[str, Any]:
    """The fields of a sound entry; ten make all types."""
    colour, other = COLOURS[index % 8], COLOURS[(index + 3) % 8]
    thing = THINGS[index % 4]
    return {
        "image_path": f"{index % 10}_type/{index:012d}.jpg",
        "original_prompt": f"a [{colour}] {thing} on a table",
        "editing_prompt": f"a [{other}] {thing} on a table",
        "editing_instruction": f"make it {other}",
        "editing_type_id": str(index % 10),
        "blended_word": f"{thing} {thing}" if index % 3 else "",
        "mask": box_runs(120 + 4 * index, 150, 200, 220),
    }


def draw(path: Path, index: int) -> None:
    """A thing on a table."""
    rng = np.random.default_rng(index)
    picture = Image.new("RGB", (SIDE, SIDE), tuple(rng.integers(90, 220, 3).tolist()))
    pen = ImageDraw.Draw(picture)
    pen.rectangle((0, 360, SIDE, SIDE), fill=(120, 84, 50))
    shape = pen.ellipse if index % 2 else pen.rectangle
    shape((130 + 4 * index, 170, 300 + 4 * index, 380), fill=COLOURS[index % 8])
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, quality=92)


def make_benchmark(folder: Path, count: int = 20, hostile: bool = True) -> Path:
    """``count`` sound entries, the first ones with odd masks, and after them hostile ones."""
    mapping: dict[str, Any] = {}
    for index, mask in zip(range(count), [*ODD_MASKS.values(), *[None] * count], strict=False):
        fields = entry(index)
        draw(folder / "annotation_images" / fields["image_path"], index)
        mapping[f"{index:012d}"] = fields if mask is None else {**fields, "mask": mask}
    if hostile:
        for name, laid in HOSTILE.items():
            mapping[name] = {**entry(1), **laid} if isinstance(laid, dict) else laid
    (folder / "mapping_file.json").write_text(json.dumps(mapping), encoding="utf-8")
    return folder
