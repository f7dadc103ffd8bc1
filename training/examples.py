"""Make the example cases under ``data/``: three made scenes and one photograph.

    python -m training.examples [--data data] [--carry .carry]

The made scenes combine an object and a background that never occur together in training, drawn
at twice the model's resolution from the same cut-outs. The cases demonstrate:

* ``example_1``: the whole scene may change;
* ``example_2``: a user's mask; everything outside it stays unchanged;
* ``example_3``: a target word, from whose attention the mask is computed;
* ``photo``: a real photograph, which the small model was not trained for.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from training.backgrounds import build_backgrounds
from training.look import to_bytes
from training.masks import dilate
from training.scenes import NATURAL, Plan, SceneMaker
from training.sprites import load_bank
from training.vocabulary import BACKDROPS, COLOUR_NAMES, is_held_out, read_objects

log = logging.getLogger(__name__)

SIDE = 512
MASK_RIM = 12
"""Distance by which the masks extend beyond the object, in pixels."""


@dataclass(frozen=True)
class Actor:
    """An object, its colour (None: natural), centre x, bottom y and size, all three in [0, 1]."""

    name: str
    colour: str | None
    x: float
    floor: float
    size: float


@dataclass(frozen=True)
class Example:
    """A case: the contents of the picture, and the requested edit."""

    case: str
    edited: Actor
    companion: Actor | None
    backdrop: str
    source_prompt: str
    edit_prompt: str
    target_word: str | None = None
    mask: bool = False
    seed: int = 1


EXAMPLES = (
    Example(
        "example_1", Actor("car", "red", 0.5, 0.86, 0.62), None, "forest",
        "a red car in a forest", "a yellow car on a sandy beach",
    ),
    Example(
        "example_2", Actor("teddy bear", None, 0.27, 0.88, 0.46),
        Actor("cup", None, 0.73, 0.88, 0.42), "table",
        "a teddy bear and a cup on a wooden table",
        "a cupcake and a cup on a wooden table", mask=True,
    ),
    Example(
        "example_3", Actor("apple", "red", 0.5, 0.86, 0.58), None, "marble",
        "a red apple on marble", "a green apple on marble", target_word="apple",
    ),
)  # fmt: skip

PHOTOGRAPH = "coffee"
PHOTO_SOURCE = "a cup of coffee on a wooden table"
PHOTO_EDIT = "a donut on a wooden table"
PHOTO_LEFT = 0.125
"""Left edge of the square crop, as a fraction of the width (training used squares)."""

PHOTO_MASK = (0.18, 0.0, 0.86, 0.84)
"""Bounding box of the elliptic mask over the cup, as fractions of the side: x, y, x, y."""


def plan_of(example: Example) -> Plan:
    """Return an example as a plan of one scene; only its picture before the edit is used."""
    names = [thing.name for thing in read_objects()]
    backdrop = [b.name for b in BACKDROPS].index(example.backdrop)
    companion = example.companion or example.edited
    actors = (example.edited, example.edited, companion)
    rng = np.random.default_rng(example.seed)
    rest = rng.random((1, 24))
    rest[0, 10], rest[0, 22] = 0.55, 0.5  # plain light
    return Plan(
        kind=np.array([3]),
        backdrop=np.array([backdrop]),
        things=np.array([[names.index(actor.name) for actor in actors]]),
        colours=np.array([[COLOUR_NAMES.index(a.colour) if a.colour else NATURAL for a in actors]]),
        shown=np.array([[True, False, example.companion is not None]]),
        x=np.array([[example.edited.x, companion.x]]),
        y=np.array([[example.edited.floor, companion.floor]]),
        size=np.array([[actor.size for actor in actors]]),
        angle=np.zeros((1, 3)),
        gain=np.ones((1, 3)),
        rest=rest,
        captions=[(example.source_prompt, example.edit_prompt)],
    )


def write_case(
    folder: Path, picture: Image.Image, mask: Image.Image | None, prompts: dict[str, str]
) -> None:
    """Write a case in the layout of the workflow."""
    (folder / "image").mkdir(parents=True, exist_ok=True)
    (folder / "prompt").mkdir(parents=True, exist_ok=True)
    picture.save(folder / "image" / "original_image.jpg", quality=95, subsampling=0)
    if mask is not None:
        mask.save(folder / "image" / "mask.png", optimize=True)
    for name, text in prompts.items():
        (folder / "prompt" / f"{name}.txt").write_text(text + "\n", encoding="utf-8")


def make_example(maker: SceneMaker, example: Example, data: Path) -> None:
    """Draw one example and write its case."""
    if not is_held_out(example.edited.name, example.backdrop):
        raise SystemExit(
            f"{example.case}: {example.edited.name} on {example.backdrop} was trained on"
        )
    scenes = maker.draw(plan_of(example), SIDE)
    picture = Image.fromarray(to_bytes(scenes.source)[0])
    mask = None
    if example.mask:
        grown = dilate(scenes.source_object.float(), MASK_RIM)[0] > 0
        mask = Image.fromarray(np.where(grown.cpu().numpy(), 0, 255).astype(np.uint8))
    prompts = {
        "edit_image_prompt": example.edit_prompt,
        "original_image_prompt": example.source_prompt,
    }
    if example.target_word:
        prompts["target_word"] = example.target_word
    write_case(data / example.case, picture, mask, prompts)


def make_photo(carry: Path, data: Path) -> None:
    """Write the case of the photograph; its mask is an ellipse over the cup."""
    picture = Image.open(carry / "photographs_held_out" / f"{PHOTOGRAPH}.webp").convert("RGB")
    left, side = round(PHOTO_LEFT * picture.width), min(picture.size)
    picture = picture.crop((left, 0, left + side, side))
    mask = Image.new("L", picture.size, 255)
    box = [f * side for f, side in zip(PHOTO_MASK, picture.size * 2, strict=True)]
    ImageDraw.Draw(mask).ellipse(box, fill=0)
    prompts = {"edit_image_prompt": PHOTO_EDIT, "original_image_prompt": PHOTO_SOURCE}
    write_case(data / "photo", picture, mask, prompts)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--carry", type=Path, default=Path(".carry"))
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    device = torch.device("cpu")
    things = read_objects()
    sprites = load_bank(options.carry / "sprites", things, side=288)
    maker = SceneMaker(sprites, build_backgrounds(options.carry, 8, device, seed=77), things)
    for example in EXAMPLES:
        make_example(maker, example, options.data)
        log.info("%s", options.data / example.case)
    make_photo(options.carry, options.data)


if __name__ == "__main__":
    main()
