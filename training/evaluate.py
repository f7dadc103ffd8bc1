"""Evaluate the bundled model on held-out edits, and write a contact sheet of them.

    python -m training.evaluate --weights editinfinity/weights/bundled

240 edits of scenes with object × background pairs that were never trained on, sixty of each kind,
with fixed seeds, without inversion, from a prompt of the whole edited scene. The judge
(``training/judge.py``) classifies the object inside the mask. Its accuracy on the true pictures
and on the tokenizer's rendering of them is the upper limit. Writes ``edits_judged.tsv``
(one line per edit), ``summary.json`` and ``held_out_edits.jpg``.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from editinfinity.editing.sampler import SamplingSettings
from editinfinity.evaluation.world.judge import WEIGHTS, Judge, load_judge
from training.editor import Edited, Editor, load_editor
from training.judge import UNKNOWN, accuracy, labels
from training.look import to_bytes
from training.scenes import KINDS, SceneMaker, Scenes, load_maker
from training.train_tokenizer import psnr, reconstruct
from training.vocabulary import COLOUR_NAMES

log = logging.getLogger(__name__)

EVALUATION_SEED = 10_003
SLICE = 20
"""Number of scenes in a batch, all of one kind."""


@dataclass(frozen=True)
class Verdict:
    """The judge's classification of a picture; ``kept`` is the PSNR (dB) of the kept region."""

    kind: str
    prompt: str
    wanted: str
    wanted_colour: str
    named: str
    named_colour: str
    kept: float | None

    @property
    def right(self) -> bool:
        """Whether the picture shows the requested object or, for recolouring, colour."""
        if self.kind == "recolour":
            return self.named_colour == self.wanted_colour
        return self.named == self.wanted


def held_out_scenes(maker: SceneMaker, each: int) -> list[Scenes]:
    """Return ``each`` scenes of every kind, in slices of one kind."""
    slices = []
    for kind in range(len(KINDS)):
        for part in range(-(-each // SLICE)):
            size = min(SLICE, each - part * SLICE)
            step = kind * 1000 + part
            kinds = np.full(size, kind)
            slices.append(maker.batch(EVALUATION_SEED, step, size, held_out=True, kinds=kinds))
    return slices


def judged(
    judge: Judge, maker: SceneMaker, scenes: Scenes, pictures: Tensor, kept: Tensor | None = None
) -> list[Verdict]:
    """Classify pictures (B, 3, H, W) that should show the scenes after their edits."""
    names = [*(thing.name for thing in maker.things), "nothing"]
    colours = {UNKNOWN: ""} | dict(enumerate(COLOUR_NAMES))
    objects, paints = (part.tolist() for part in labels(scenes, maker, 1))
    guesses, shades = (part.tolist() for part in judge.name(pictures, scenes.mask))
    return [
        Verdict(
            KINDS[scenes.plan.kind[i]], scenes.target_captions[i], names[objects[i]],
            colours[paints[i]], names[guesses[i]], colours[shades[i]],
            None if kept is None else float(kept[i]),
        )
        for i in range(len(objects))
    ]  # fmt: skip


def shares(verdicts: list[Verdict]) -> dict[str, float]:
    """Return shares of right edits by kind, and of recognised recoloured objects, and PSNRs."""
    found = {}
    for kind in KINDS:
        chosen = [v for v in verdicts if v.kind == kind]
        found[kind] = float(np.mean([v.right for v in chosen]))
    recoloured = [v for v in verdicts if v.kind == "recolour"]
    found["recoloured, object still named"] = float(
        np.mean([v.named == v.wanted for v in recoloured])
    )
    kept = [v.kept for v in verdicts if v.kept is not None]
    if kept:
        found["kept, dB (mean)"] = float(np.mean(kept))
        found["kept, dB (worst tenth)"] = float(np.quantile(kept, 0.1))
    return found


def ceilings(
    judge: Judge, maker: SceneMaker, editor: Editor, slices: list[Scenes]
) -> dict[str, dict[str, float]]:
    """Return the shares for the true edited pictures and for the tokenizer's rendering of them."""
    real, rendered, fidelity = [], [], []
    for scenes in slices:
        drawn = reconstruct(editor.tokenizer, scenes.target, editor.plan.tokenizer_scales)
        real += judged(judge, maker, scenes, scenes.target)
        rendered += judged(judge, maker, scenes, drawn)
        fidelity.append(psnr(drawn, scenes.target))
    log.info("tokenizer on the true edited pictures: %.2f dB", torch.cat(fidelity).mean())
    return {"real": shares(real), "tokenizer": shares(rendered)}


@dataclass(frozen=True)
class Cell:
    """One edit on the contact sheet: source, mask, rendering of the source, edit; and a text."""

    pictures: tuple[np.ndarray, ...]
    words: str


def cells_of(scenes: Scenes, edited: Edited, verdicts: list[Verdict]) -> list[Cell]:
    """Return one cell per edit of a slice."""
    masks = np.repeat(((~scenes.mask).cpu().numpy() * 255).astype(np.uint8)[..., None], 3, -1)
    shown = (to_bytes(scenes.source), masks, to_bytes(edited.rendering), to_bytes(edited.edit))
    return [
        Cell(
            tuple(part[i] for part in shown),
            f"{verdict.kind}: {verdict.prompt}  [judge: {verdict.named_colour} {verdict.named}]",
        )
        for i, verdict in enumerate(verdicts)
    ]


def draw_sheet(cells: list[Cell], columns: int = 3, side: int = 144) -> Image.Image:
    """Return a sheet of cells, ``columns`` per row; each has four pictures and its text below."""
    rows, width, height = -(-len(cells) // columns), 4 * side + 10, side + 28
    sheet = Image.new("RGB", (columns * width, rows * height), "white")
    pen = ImageDraw.Draw(sheet)
    for index, cell in enumerate(cells):
        x, y = index % columns * width, index // columns * height
        for place, picture in enumerate(cell.pictures):
            small = Image.fromarray(picture).resize((side - 2, side - 2))
            sheet.paste(small, (x + place * side, y))
        words = cell.words
        half = words.rfind(" ", 0, 90) if len(words) > 90 else len(words)
        pen.text((x + 2, y + side), words[:half], fill="black")
        pen.text((x + 2, y + side + 12), words[half:].strip(), fill="black")
    return sheet


def evaluate(
    judge: Judge, maker: SceneMaker, editor: Editor, slices: list[Scenes],
    settings: SamplingSettings,
) -> tuple[list[Verdict], list[Cell]]:  # fmt: skip
    """Edit all scenes and classify the edits with the judge."""
    verdicts: list[Verdict] = []
    cells: list[Cell] = []
    for number, scenes in enumerate(slices):
        edited = editor(scenes, scenes.target_captions, settings, seed=number)
        found = judged(judge, maker, scenes, edited.edit, edited.kept)
        verdicts += found
        cells += cells_of(scenes, edited, found)
    return verdicts, cells


def write_verdicts(path: Path, verdicts: list[Verdict]) -> None:
    """Write a tab-separated table with one line per edit."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = [
            asdict(v) | {"right": v.right, "kept": f"{v.kept:.2f}" if v.kept is not None else ""}
            for v in verdicts
        ]
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, default=Path("editinfinity/weights/bundled"))
    parser.add_argument("--judge", type=Path, default=WEIGHTS)
    parser.add_argument("--carry", type=Path, default=Path(".carry"))
    parser.add_argument("--output", type=Path, default=Path("build/evaluation"))
    parser.add_argument("--each", type=int, default=60, help="edits of every kind")
    parser.add_argument("--shown", type=int, default=48, help="edits on the contact sheet")
    parser.add_argument("--cfg", type=float, nargs="+", default=[4.0])
    parser.add_argument("--tau", type=float, nargs="+", default=[0.5])
    parser.add_argument("--backgrounds", type=int, default=64)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    device = torch.device(options.device)
    maker = load_maker(options.carry, device, options.backgrounds, cache=Path("build"))
    editor = load_editor(options.weights, options.carry, device)
    judge = load_judge(options.judge, device)
    slices = held_out_scenes(maker, options.each)
    options.output.mkdir(parents=True, exist_ok=True)
    summary = {"judge on held-out renderings": accuracy(judge, maker, 4 * options.each)}
    summary |= ceilings(judge, maker, editor, slices)
    for number, (cfg, tau) in enumerate(product(options.cfg, options.tau)):
        settings = SamplingSettings(cfg=cfg, tau=tau)
        verdicts, cells = evaluate(judge, maker, editor, slices, settings)
        summary[f"edits, cfg {cfg:g}, tau {tau:g}"] = shares(verdicts)
        if number == 0:
            write_verdicts(options.output / "edits_judged.tsv", verdicts)
            chosen = np.random.default_rng(0).permutation(len(cells))[: options.shown]
            draw_sheet([cells[i] for i in chosen]).save(
                options.output / "held_out_edits.jpg", quality=88
            )
    (options.output / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    for name, row in summary.items():
        log.info("%s: %s", name, ", ".join(f"{k} {v:.3f}" for k, v in row.items()))


if __name__ == "__main__":
    main()
