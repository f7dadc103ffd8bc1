"""Study of the edge-aware filter of found places on photographs, with masks drawn by hand.

    python -m training.two_prompts make
    python -m training.filter_study

The bundled model finds nothing in photographs, so the soft maps are made from the truth: the mask
of a thing (``training/studies/filter_masks``) is averaged to a coarse grid, blurred and enlarged,
as maps of attention and bits are, and damaged further: moved, or with a weaker second spot and
smooth noise. The package turns each map into a region without the filter, with it at the constants
that the study started from (``on``), and with other values. Writes a line per map to
``training/studies/filter.tsv``: intersection over union with the true cells (more than half
covered) for every rule, and for ``off`` and ``on`` the cells outside the thing and the cells
missed, as shares of its size. Prints the means. For comparison, the same is done with 20 made
scenes of the study of two prompts, and with the maps that the bundled model finds in 60.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter, shift

from editinfinity.editing import prompt_region
from editinfinity.editing.blend_mask import cell_means
from editinfinity.files.annotations.areas import Polygon, draw
from editinfinity.files.tokenizer_weights import load_tokenizer
from editinfinity.files.transformer_weights import load_transformer
from editinfinity.method.encode import encode_photograph
from editinfinity.method.prompt_map import prompt_maps
from editinfinity.presets import preset
from editinfinity.scales import SCALES_1M, nearest_ratio
from training.ablation.statistics import interval
from training.tables import write_table
from training.two_prompts import scenes

SEED = 10_019
DRAWS = 2
"""Number of random maps of each damage that has a random part."""

SPOT, SPOT_SIGMA = 0.4, 5.0
"""Height, of 1, and standard deviation in cells of the second spot."""

NOISE, NOISE_SIGMA = 0.08, 4.0
"""Standard deviation of the noise, of 1, and of its blur in cells."""

OFF, ON = "off", "on"
_FIRST = {"FILTER_RADIUS": 12 / 64, "FILTER_EPSILON": 1e-3, "MAX_FILTER_GROWTH": 1.5}
"""The constants that the study started from, not those that the package has since."""

RULES: dict[str, Mapping[str, float] | None] = {
    OFF: None,
    ON: _FIRST,
    "unguarded": _FIRST | {"MAX_FILTER_GROWTH": np.inf},
    "epsilon_1e-4": _FIRST | {"FILTER_EPSILON": 1e-4},
    "growth_1.1": _FIRST | {"MAX_FILTER_GROWTH": 1.1},
    "epsilon_1e-4_growth_1.2": _FIRST | {"FILTER_EPSILON": 1e-4, "MAX_FILTER_GROWTH": 1.2},
    "epsilon_1e-4_growth_1.1": _FIRST | {"FILTER_EPSILON": 1e-4, "MAX_FILTER_GROWTH": 1.1},
    "radius_8": _FIRST | {"FILTER_RADIUS": 8 / 64},
    "radius_8_epsilon_1e-4": _FIRST | {"FILTER_RADIUS": 8 / 64, "FILTER_EPSILON": 1e-4},
}
"""Constants of ``prompt_region`` of each rule; None does not filter."""

MADE, MADE_SCENES = "made scene", 20
"""Name of made scenes in the table, and how many of a kind are used."""

Row = dict[str, str | float]
Cells = NDArray[np.bool_]


@dataclass(frozen=True)
class Subject:
    """A thing to find: its mask (H, W) in a picture (H, W, 3) RGB."""

    photograph: str
    thing: str
    mask: NDArray[np.bool_]
    pixels: NDArray[np.uint8]


@dataclass(frozen=True)
class Damage:
    """What separates a soft map from the truth.

    Attributes:
        coarse: index in ``SCALES_1M`` of the grid to which the mask is averaged.
        blur: standard deviation of a blur, in cells of the map.
        moved: cells by which the map is moved, in a random direction.
        spot: whether there are a weaker second spot, elsewhere, and smooth noise.
    """

    coarse: int
    blur: float
    moved: int = 0
    spot: bool = False

    @property
    def name(self) -> str:
        """Name of the kind of damage in tables."""
        parts = [f"moved {self.moved}"] * bool(self.moved) + ["spot"] * self.spot
        return ", ".join(parts) or "none"


COARSE = {6: 16, 4: 8}
"""Side of the grids of ``Damage.coarse`` for a square."""

DAMAGES = tuple(
    Damage(coarse, blur, moved, spot)
    for coarse, blur, (moved, spot) in product(
        COARSE, (1.0, 2.0), ((0, False), (1, False), (2, False), (0, True), (1, True))
    )
)


def soft_map(
    mask: NDArray[np.bool_], damage: Damage, generator: np.random.Generator
) -> NDArray[np.float32]:
    """Return a soft map (h, w) of a mask (H, W), on the reference grid of its aspect ratio."""
    grids = SCALES_1M[nearest_ratio(*mask.shape)]
    height, width = grids[-1]
    coarse = cell_means(mask.astype(np.float32), grids[damage.coarse])
    soft = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BILINEAR))
    soft = gaussian_filter(soft, damage.blur, mode="nearest")
    if damage.moved:
        angle = generator.uniform(0, 2 * np.pi)
        way = np.sin(angle), np.cos(angle)
        soft = shift(soft, damage.moved * np.array(way), order=1, mode="nearest")
    soft = soft / soft.max()
    if damage.spot:
        outside = np.argwhere(soft < 0.1)
        row, column = outside[generator.integers(len(outside))]
        rows, columns = np.ogrid[:height, :width]
        distance = (rows - row) ** 2 + (columns - column) ** 2
        soft = np.maximum(soft, SPOT * np.exp(-distance / (2 * SPOT_SIGMA**2)))
        noise = gaussian_filter(generator.standard_normal(soft.shape), NOISE_SIGMA)
        soft = np.maximum(soft + NOISE * noise / noise.std(), 0)
    return soft.astype(np.float32)


def region(soft: NDArray[np.float32], pixels: NDArray[np.uint8], rule: str) -> Cells:
    """Return the region (h, w) of a soft map by one of ``RULES``."""
    constants = RULES[rule]
    with patch.dict(vars(prompt_region), constants or {}):
        return prompt_region.cells_of_soft_map(soft, pixels, follow_edges=constants is not None)


def things(path: Path) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Yield name and mask (H, W) of every thing in a LabelMe file of polygons."""
    content = json.loads(path.read_text(encoding="utf-8"))
    size = content["imageHeight"], content["imageWidth"]
    for shape in content["shapes"]:
        yield shape["label"], draw([Polygon([(x, y) for x, y in shape["points"]])], size, size)


def true_cells(mask: NDArray[np.bool_]) -> Cells:
    """Return the cells (h, w) of the reference grid that a mask (H, W) covers by more than half."""
    grid = SCALES_1M[nearest_ratio(*mask.shape)][-1]
    return np.asarray(cell_means(mask.astype(np.float32), grid) > 0.5)


def measures(soft: NDArray[np.float32], truth: Cells, pixels: NDArray[np.uint8]) -> Row:
    """Return the measures of a soft map (h, w) by every rule."""
    found = {rule: region(soft, pixels, rule) for rule in RULES}
    row: Row = {rule: float((f & truth).sum() / (f | truth).sum()) for rule, f in found.items()}
    for rule in (OFF, ON):
        row[f"outside_{rule}"] = float((found[rule] & ~truth).sum() / truth.sum())
        row[f"missed_{rule}"] = float((truth & ~found[rule]).sum() / truth.sum())
    return row


def damaged_rows(subject: Subject) -> Iterator[Row]:
    """Yield the measures of every damage of a thing's map."""
    truth = true_cells(subject.mask)
    for number, damage in enumerate(DAMAGES):
        for repeat in range(DRAWS if damage.moved or damage.spot else 1):
            generator = np.random.default_rng([SEED, number, repeat])
            soft = soft_map(subject.mask, damage, generator)
            yield {
                "photograph": subject.photograph, "thing": subject.thing,
                "share": float(truth.mean()), "grid": COARSE[damage.coarse], "blur": damage.blur,
                "damage": damage.name, **measures(soft, truth, subject.pixels),
            }  # fmt: skip


def found_rows(pack: Path) -> Iterator[Row]:
    """Yield the measures of the bundled model's own maps of made scenes."""
    device = torch.device("cpu")
    config = preset("bundled")
    transformer = load_transformer(config, device)
    tokenizer = load_tokenizer(config, device)
    kinds: Counter[str] = Counter()
    for scene in scenes.read(pack):
        kind = scene.facts.kind
        kinds[kind] += 1
        if kind == "add" or kinds[kind] > MADE_SCENES:  # additions are never filtered
            continue
        picture = Image.fromarray(scene.source)
        photograph = encode_photograph(picture, None, config.pixel_budget, config, tokenizer)
        texts = (scene.texts[text] for text in ("source", "target"))
        soft = prompt_maps(transformer, photograph, *texts).of("both")
        truth = true_cells(scene.place)
        yield {
            "photograph": MADE, "thing": scene.word, "share": float(truth.mean()), "grid": "",
            "blur": "", "damage": f"the model's map, {kind}",
            **measures(soft, truth, photograph.pixels),
        }  # fmt: skip


def summary(rows: list[Row], *keys: str) -> Iterator[str]:
    """Yield a line of means for every value of some columns."""
    groups: dict[tuple[str | float, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    yield "\t".join([*keys, "maps", *RULES, "gains", "losses"])
    for values, group in groups.items():
        means = [f"{np.mean([float(r[rule]) for r in group]):.3f}" for rule in RULES]
        change = np.array([float(r[ON]) - float(r[OFF]) for r in group])
        counts = [str(int((change > 0.01).sum())), str(int((change < -0.01).sum()))]
        yield "\t".join([*map(str, values), str(len(group)), *means, *counts])


def changes(rows: list[Row]) -> Iterator[str]:
    """Yield how rules change the overlap, as means over things with 95 % intervals."""
    others = list(RULES)[3:]
    for rule, other in ((ON, OFF), *product(others, (OFF, ON))):
        by_thing: dict[tuple[str | float, ...], list[float]] = {}
        for row in rows:
            thing = row["photograph"], row["thing"], row["share"]
            by_thing.setdefault(thing, []).append(float(row[rule]) - float(row[other]))
        change = interval(np.array([np.mean(each) for each in by_thing.values()]))
        yield f"{rule} against {other}: {change.cell(digits=3, signed=True)}"


def photographs(masks: Path, carry: Path) -> Iterator[Subject]:
    """Yield every thing of every photograph that has a file of masks."""
    for path in sorted(masks.glob("*.json")):
        (photograph,) = carry.glob(f"photographs*/{path.stem}.webp")
        with Image.open(photograph) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        for name, mask in things(path):
            yield Subject(path.stem, name, mask, pixels)


def made_scenes(pack: Path) -> Iterator[Subject]:
    """Yield the replaced things of the first scenes that the study of two prompts is tuned on."""
    for scene in scenes.read(pack, list(range(MADE_SCENES))):
        yield Subject(MADE, scene.word, scene.thing, scene.source)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--carry", type=Path, default=Path(".carry"))
    parser.add_argument("--made", type=Path, default=Path(".carry/two_prompts/tuning.safetensors"))
    parser.add_argument("--masks", type=Path, default=Path("training/studies/filter_masks"))
    parser.add_argument("--output", type=Path, default=Path("training/studies/filter.tsv"))
    options = parser.parse_args()
    real = [r for s in photographs(options.masks, options.carry) for r in damaged_rows(s)]
    made = [r for s in made_scenes(options.made) for r in damaged_rows(s)]
    found = list(found_rows(options.made))
    write_table(options.output, [*real, *made, *found])
    for title, group in (("found by the model", found), ("made", made), ("photographs", real)):
        print(f"# {title}", *changes(group), sep="\n")
        for keys in ((), ("damage",), ("grid", "blur"), ("photograph", "thing")):
            if group is real or keys in ((), ("damage",)):
                print(*summary(group, *keys), "", sep="\n")


if __name__ == "__main__":
    main()
