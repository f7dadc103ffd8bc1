"""The ablation in one command; see the package's description.

    python -m training.ablation [make] [draw] [tables]

Without arguments, all three steps run. ``make`` packs the edits into ``.carry/ablation`` (it
needs ``python -m training.assets`` first). ``draw`` needs that folder and the packages torch,
torchmetrics, NumPy, SciPy, Pillow, safetensors and lazy-loader, so it can run on a machine without
Snakemake; it is slow on a CPU. If it is interrupted, the same command goes on with the next slice.
``tables`` copies the rows to ``training/studies/ablation`` and writes the tables of the pages; rows
of inversions that were not drawn (``--learned``) stay as they are.
"""

from __future__ import annotations

import argparse
import logging
import shutil
from pathlib import Path

import torch

from editinfinity.evaluation.world.judge import WEIGHTS, load_judge
from training.ablation import edits as made
from training.ablation.drawing import Studio, draw_all
from training.ablation.measures import Witnesses
from training.ablation.variants import INVERSIONS
from training.lpips import Lpips
from training.steps import add_processes, add_steps, run_parts

VIEWS = 12
"""Number of pictures per backdrop."""

STEPS = ("make", "draw", "tables")
SHOWN = (3, 17, 29, 44, 58, 71, 85, 107)
"""Edits on the contact sheet, chosen before generating: three replace, three recolour, one adds,
one removes."""


def make(options: argparse.Namespace) -> None:
    """Make the scenes of the edits, and pack them into a file."""
    from editinfinity.files.text_encoder_weights import load_text_encoder
    from editinfinity.presets import preset
    from training.scenes import load_maker

    device = torch.device("cpu")
    maker = load_maker(options.assets, device, VIEWS, cache=Path("build"))
    encoder = load_text_encoder(preset("bundled"), device)
    made.make(maker, encoder, options.carry / made.PACK)
    shutil.copyfile(options.assets / "lpips.safetensors", options.carry / "lpips.safetensors")


def draw(options: argparse.Namespace) -> None:
    """Generate the edits with every variant of the inversions that were chosen."""
    if options.processes > 1 and not options.part:
        arguments = ["draw", "--carry", options.carry, "--output", options.output, "--judge",
                     options.judge, "--slice", options.slice, "--device", options.device,
                     "--learned", *options.learned]  # fmt: skip
        run_parts("training.ablation", arguments, options.processes)
    device = torch.device(options.device)
    witnesses = Witnesses(
        load_judge(options.judge, device),
        Lpips(options.carry / "lpips.safetensors").to(device).eval(),
    )
    draw_all(
        options.carry / made.PACK, options.output, Studio.load(device), witnesses,
        options.slice, SHOWN, inversions=[i for i in INVERSIONS if i.name in options.learned],
        process=options.part or (0, 1),
    )  # fmt: skip


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_steps(parser, STEPS)
    parser.add_argument("--assets", type=Path, default=Path(".carry"))
    parser.add_argument("--carry", type=Path, default=Path(".carry/ablation"))
    parser.add_argument("--output", type=Path, default=Path("build/ablation"))
    parser.add_argument("--judge", type=Path, default=WEIGHTS)
    parser.add_argument("--slice", type=int, default=40, help="edits at once")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    names = [inversion.name for inversion in INVERSIONS]
    parser.add_argument(
        "--learned", nargs="+", choices=names, default=names, help="inversions to draw with"
    )
    add_processes(parser)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    steps = options.steps or STEPS
    if "make" in steps:
        make(options)
    if "draw" in steps:
        draw(options)
    if "tables" in steps:
        from training.ablation.tables import write_pages

        write_pages(options.output, options.carry)


if __name__ == "__main__":
    main()
