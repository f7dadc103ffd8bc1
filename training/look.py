"""Write a contact sheet of made scenes (before, mask, after), and print their captions.

python -m training.look scenes.png [--count 24] [--held-out]
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from training.scenes import KINDS, load_maker

log = logging.getLogger(__name__)


def to_bytes(pictures: torch.Tensor) -> np.ndarray:
    """Convert pictures (B, 3, H, W) in [−1, 1] to (B, H, W, 3) uint8."""
    scaled = ((pictures.detach().float().cpu() + 1) * 127.5).clamp(0, 255)
    return scaled.permute(0, 2, 3, 1).numpy().astype(np.uint8)


def tile(cells: list[np.ndarray], columns: int) -> Image.Image:
    """Return pictures (H, W, 3) of the same size as one sheet, row by row."""
    height, width = cells[0].shape[:2]
    rows = -(-len(cells) // columns)
    sheet = np.full((rows * height, columns * width, 3), 255, np.uint8)
    for index, cell in enumerate(cells):
        y, x = index // columns * height, index % columns * width
        sheet[y : y + height, x : x + width] = cell
    return Image.fromarray(sheet)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--folder", type=Path, default=Path(".carry"))
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--step", type=int, default=0)
    parser.add_argument("--held-out", action="store_true")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    maker = load_maker(options.folder, torch.device("cpu"), each=4)
    scenes = maker.batch(0, options.step, options.count, options.held_out)
    cells = []
    sources, targets = to_bytes(scenes.source), to_bytes(scenes.target)
    for row in range(options.count):
        mask = np.repeat((~scenes.mask[row].cpu().numpy() * 255).astype(np.uint8)[..., None], 3, -1)
        cells += [sources[row], mask, targets[row]]
        log.info("%2d %-8s %s -> %s", row, KINDS[scenes.plan.kind[row]], *scenes.plan.captions[row])
    tile(cells, 12).resize((12 * 128, -(-options.count // 4) * 128)).save(options.output)


if __name__ == "__main__":
    main()
