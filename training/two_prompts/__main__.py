"""The study in one command; see the package's description.

    python -m training.two_prompts [make] [draw] [tables]

``make`` packs the edits into ``.carry/two_prompts`` (it needs ``python -m training.assets`` first),
``draw`` needs only that folder and is meant for a GPU, ``tables`` copies the rows to
``training/studies/two_prompts`` and fills in the pages. ``tune`` compares settings on the edits
that are kept for that purpose.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from pathlib import Path

import torch

from editinfinity.evaluation.world.judge import WEIGHTS, load_judge
from training.ablation.measures import Witnesses
from training.lpips import Lpips
from training.steps import add_processes, add_steps, run_parts
from training.tables import join_tables, write_table
from training.two_prompts import scenes, tuning
from training.two_prompts.drawing import Bench, Row, Studio, drawn_rows, found_rows
from training.two_prompts.tables import write_pages

VIEWS = 12
"""Number of pictures per backdrop, as in the ablation."""

TEST, TUNING = "edits.safetensors", "tuning.safetensors"
STEPS = ("make", "tune", "draw", "tables")
SHOWN = (3, 17, 44, 58, 85, 107, 125, 145, 165, 185)
"""Edits whose pictures are kept, chosen before drawing: two or more of each kind and set."""


def make(options: argparse.Namespace) -> None:
    """Make the scenes of the edits, and pack them."""
    from editinfinity.files.text_encoder_weights import load_text_encoder
    from editinfinity.presets import preset
    from training.scenes import load_maker

    device = torch.device("cpu")
    maker = load_maker(options.assets, device, VIEWS, cache=Path("build"))
    encoder = load_text_encoder(preset("bundled"), device)
    scenes.make(maker, encoder, options.carry / TUNING, ("tuning",))
    scenes.make(maker, encoder, options.carry / TEST, ("one", "two", "backdrop"))


def rows_of(options: argparse.Namespace, pack: str) -> Iterator[Bench]:
    """Yield the edits of this process's part, ready to find and draw."""
    device = torch.device(options.device)
    lpips = Lpips(options.assets / "lpips.safetensors").to(device).eval()
    studio = Studio.load(device, Witnesses(load_judge(WEIGHTS, device), lpips))
    part, parts = options.part
    for scene in scenes.read(options.carry / pack):
        if scene.facts.edit % parts == part:
            yield Bench(studio, scene)


def described(bench: Bench, rows: Iterator[Row]) -> Iterator[Row]:
    """Add the edit's number, set and kind to its rows."""
    scene = bench.scene
    for row in rows:
        yield {"edit": scene.facts.edit, "set": scene.set, "kind": scene.facts.kind, **row}


def run_part(options: argparse.Namespace, step: str) -> None:
    """Find and draw this process's part of the edits, and write the rows after each of them."""
    tables: dict[str, list[Row]] = {}
    options.output.mkdir(parents=True, exist_ok=True)
    for bench in rows_of(options, TUNING if step == "tune" else TEST):
        shown = options.output / "pictures" / str(bench.scene.facts.edit)
        keep = shown if bench.scene.facts.edit in SHOWN and step == "draw" else None
        if step == "tune":
            found = {"tuned_found": tuning.found_rows(bench), "tuned": tuning.drawn_rows_of(bench)}
        else:
            found = {"found": found_rows(bench), "drawn": drawn_rows(bench, keep=keep)}
        for name, rows in found.items():
            tables.setdefault(name, []).extend(described(bench, rows))
            write_table(options.output / f"{name}.{options.part[0]}.tsv", tables[name])


def run(options: argparse.Namespace, step: str) -> None:
    """Run a step in several processes, and join their tables."""
    arguments = [step, "--assets", options.assets, "--carry", options.carry, "--output",
                 options.output, "--device", options.device]  # fmt: skip
    run_parts("training.two_prompts", arguments, options.processes)
    for name in ("tuned_found", "tuned") if step == "tune" else ("found", "drawn"):
        parts = sorted(options.output.glob(f"{name}.*.tsv"))
        join_tables(parts, options.output / f"{name}.tsv")
        for part in parts:
            part.unlink()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_steps(parser, STEPS)
    parser.add_argument("--assets", type=Path, default=Path(".carry"))
    parser.add_argument("--carry", type=Path, default=Path(".carry/two_prompts"))
    parser.add_argument("--output", type=Path, default=Path("build/two_prompts"))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add_processes(parser)
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    for step in options.steps or ("make", "draw", "tables"):
        if step == "make":
            make(options)
        elif step == "tables":
            write_pages(options.output)
        elif options.part:
            run_part(options, step)
        else:
            run(options, step)


if __name__ == "__main__":
    main()
