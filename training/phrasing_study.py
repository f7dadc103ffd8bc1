"""Study of prompts beyond the training's templates: fifty phrasings, synonyms and colours.

    python -m training.phrasing_study

Each prompt replaces a centred object of a held-out scene by an object in free wording
(``training/phrasings.tsv``), with the full text encoder and without inversion. The judge decides
what is right. Writes ``training/studies/phrasings.tsv`` and a contact sheet.
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from editinfinity.editing.blend import MaskBlend
from editinfinity.evaluation.world.judge import WEIGHTS, load_judge
from training.bundled import Bundled
from training.look import tile, to_bytes
from training.masks import make_blend_mask
from training.scenes import KINDS, SceneMaker, Scenes, load_maker
from training.tables import write_table
from training.vocabulary import BACKDROPS, COLOUR_NAMES

PHRASINGS = Path(__file__).parent / "phrasings.tsv"
SEED = 10_007
REPLACE = KINDS.index("replace")


@dataclass(frozen=True)
class Phrasing:
    """A phrase, and the objects and colours (none: any) that are right results."""

    phrase: str
    objects: tuple[str, ...]
    colours: tuple[str, ...]
    kind: str


def read_phrasings(path: Path = PHRASINGS) -> list[Phrasing]:
    """Read the table of phrasings."""
    with path.open(encoding="utf-8", newline="") as file:
        return [
            Phrasing(
                row["phrase"], tuple(row["objects"].split("|")),
                tuple(filter(None, row["colours"].split("|"))), row["kind"],
            )
            for row in csv.DictReader(file, delimiter="\t")
        ]  # fmt: skip


def scene_for(maker: SceneMaker, phrasing: Phrasing, number: int) -> Scenes:
    """Draw a scene whose single, centred object is replaced, with a mask that fits the new one."""
    names = [thing.name for thing in maker.things]
    for attempt in range(1000):
        rng = np.random.default_rng([SEED, number, attempt])
        plan = maker.plan(rng, 1, True, np.array([REPLACE]))
        if not plan.shown[0, 2] and abs(plan.x[0, 0] - 0.5) < 0.1:
            things = plan.things.copy()
            things[0, 1] = names.index(phrasing.objects[0])
            return maker.draw(replace(plan, things=things))
    raise AssertionError("no centred lone object in a thousand scenes")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--judge", type=Path, default=WEIGHTS)
    parser.add_argument("--carry", type=Path, default=Path(".carry"))
    parser.add_argument("--output", type=Path, default=Path("training/studies/phrasings.tsv"))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    device = torch.device(options.device)
    maker = load_maker(options.carry, device, 16, cache=Path("build"))
    bundled, judge = Bundled.load(device), load_judge(options.judge, device)
    names = [*(thing.name for thing in maker.things), "nothing"]
    rows: list[dict[str, object]] = []
    cells = []
    for number, phrasing in enumerate(read_phrasings()):
        scenes = scene_for(maker, phrasing, number)
        place = BACKDROPS[scenes.plan.backdrop[0]].places[0]
        prompt = f"{phrasing.phrase} {place}"
        blend = MaskBlend(bundled.encode(scenes.source).codes, make_blend_mask(scenes.mask, 16)[0])
        edited = bundled.draw(prompt, edit=blend)
        guess, paint = judge.name(edited, scenes.mask)
        named, colour = names[int(guess)], COLOUR_NAMES[int(paint)]
        right = named in phrasing.objects and (not phrasing.colours or colour in phrasing.colours)
        rows.append({
            "prompt": prompt, "kind": phrasing.kind, "named": named, "colour": colour,
            "right": right,
        })  # fmt: skip
        cells.append(to_bytes(edited)[0])
        write_table(options.output, rows)
    tile(cells, 10).resize((1280, 640)).save(options.output.with_suffix(".jpg"), quality=88)
    asked, right_ones = Counter(r["kind"] for r in rows), Counter()
    right_ones.update(r["kind"] for r in rows if r["right"])
    for kind, count in asked.items():
        print(f"{kind}: {right_ones[kind]} of {count}")
    print(f"all: {sum(right_ones.values())} of {len(rows)}")


if __name__ == "__main__":
    main()
