"""The judge: a small network that names the object in a part of a picture, and its colour.

Trained by ``training/judge.py`` only on rendered synthetic scenes, independently of tokenizer and
transformer, whose pictures it never saw. It knows the bundled model's 76 objects, "nothing" and ten
colours. For anything else it names the most similar of these.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from editinfinity.evaluation.world.vocabulary import COLOUR_NAMES, read_objects

WEIGHTS = Path(__file__).parents[2] / "weights" / "judge" / "judge.safetensors"
"""Weights of the judge, included in the package."""

SIDE = 96
"""Side of the judge's input, in pixels."""

CROP_FACTOR = 1.15
"""Side of the square crop around a mask, relative to the mask's longer side."""


class _Stage(nn.Module):
    """A residual block that halves the resolution."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width_in, width_out, 3, 2, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(width_out)
        self.second = nn.Conv2d(width_out, width_out, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(width_out)
        self.shortcut = nn.Conv2d(width_in, width_out, 1, 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.norm1(self.first(x)))
        return F.relu(self.norm2(self.second(h)) + self.shortcut(x))


class Judge(nn.Module):
    """Maps (B, 3, SIDE, SIDE) in [−1, 1] to logits of objects (the last: "nothing") and colours."""

    def __init__(self, objects: int, widths: tuple[int, ...] = (32, 64, 128, 192)) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, widths[0], 5, 2, 2, bias=False)
        self.norm = nn.BatchNorm2d(widths[0])
        self.stages = nn.Sequential(*(_Stage(a, b) for a, b in pairwise(widths)))
        self.objects = nn.Linear(widths[-1], objects + 1)
        self.colours = nn.Linear(widths[-1], len(COLOUR_NAMES))

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        features = self.stages(F.relu(self.norm(self.stem(crops)))).mean((2, 3))
        return self.objects(features), self.colours(features)

    @property
    def nothing(self) -> int:
        """Index of the class "nothing"."""
        return self.objects.out_features - 1

    @torch.no_grad()
    def name(self, pictures: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the likeliest object and colour (B,) in masks (B, H, W) of pictures in [−1, 1]."""
        objects, colours = self(crop(pictures, mask))
        return objects.argmax(1), colours.argmax(1)


def load_judge(path: Path, device: torch.device) -> Judge:
    """Load the trained judge, in evaluation mode."""
    judge = Judge(len(read_objects()))
    weights = {k: v.float() for k, v in load_file(path).items()}
    judge.load_state_dict(weights, strict=False)  # the file lacks the batch counts of batch norm
    return judge.to(device).eval()


def crop(
    pictures: Tensor, mask: Tensor, zoom: Tensor | None = None, shift: Tensor | None = None
) -> Tensor:
    """Return the square around each mask, resampled to (B, 3, SIDE, SIDE).

    Args:
        pictures: (B, 3, H, W).
        mask: (B, H, W).
        zoom: (B,) factors for the square's side.
        shift: (B, 2) shifts (x, y) of the square's centre, in units of its side.
    """
    height, width = mask.shape[1:]
    spans = []
    for occupied, extent in ((mask.any(1), width), (mask.any(2), height)):
        position = torch.arange(extent, device=mask.device)
        low = torch.where(occupied, position, extent).amin(1)
        high = torch.where(occupied, position, -1).amax(1)
        spans.append(((low + high + 1) / extent - 1, (high + 1 - low) / extent))
    (x, wide), (y, tall) = spans
    side = torch.maximum(wide, tall) * CROP_FACTOR
    centre = torch.stack([x, y], 1)
    if zoom is not None:
        side = side * zoom
    if shift is not None:
        centre = centre + 2 * shift * side[:, None]
    matrix = torch.zeros(len(mask), 2, 3, device=mask.device)
    matrix[:, 0, 0] = matrix[:, 1, 1] = side
    matrix[:, :, 2] = centre
    grid = F.affine_grid(matrix, [len(mask), 3, SIDE, SIDE], align_corners=False)
    return F.grid_sample(pictures, grid, padding_mode="reflection", align_corners=False)
