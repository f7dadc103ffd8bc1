"""Measurements of every generated edit.

The background metrics are PIE-Bench's (:mod:`editinfinity.evaluation`), against the source
picture, and the PSNR against the tokenizer's rendering of the source, which no editor of this
kind can exceed. Inside the mask, they are the judge's classification and the kept luminance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from editinfinity.evaluation.background import background_metrics
from editinfinity.evaluation.names import PSNR_CAP
from editinfinity.evaluation.world.judge import Judge, crop
from training.ablation.edits import Edits, Facts
from training.judge import UNKNOWN
from training.lpips import Lpips

Row = dict[str, float]

NAMES = (
    "psnr", "psnr_rendering", "ssim", "lpips", "right", "chance", "named", "luminance", "to_wanted",
)  # fmt: skip
"""Columns of a row of ``edits.tsv``, explained in ``docs/ablation.md``."""


@dataclass(frozen=True)
class Witnesses:
    """The models that measure edits: the judge and LPIPS."""

    judge: Judge
    lpips: Lpips

    @torch.no_grad()
    def __call__(self, drawn: Tensor, rendering: Tensor, edits: Edits) -> list[Row]:
        """Return a row for each generated picture (S, 3, H, W).

        Args:
            drawn: pictures in [−1, 1], rounded as in 8-bit files (:func:`in_bytes`).
            rendering: the tokenizer's rendering of the sources, in the same format.
        """
        keep = ~edits.mask[:, None]
        pixels, sources = pixels_of(drawn), pixels_of(edits.source)
        masks = edits.mask.cpu().numpy()
        background = [
            background_metrics(*each) for each in zip(sources, pixels, masks, strict=True)
        ]
        error = (((drawn - rendering) / 2) * keep).square().mean((1, 2, 3))
        to_rendering = (-10 * error.clamp(min=1e-12).log10()).clamp(max=PSNR_CAP).tolist()
        # Zero outside, in [0, 1], as the other metrics of the background; LPIPS takes [−1, 1].
        black = torch.full_like(drawn, -1)
        outside = self.lpips(
            torch.where(keep, drawn, black), torch.where(keep, edits.source, black)
        ).tolist()
        inside = self.lpips(torch.where(keep, edits.wanted, drawn), edits.wanted).tolist()
        verdicts = self._judged(drawn, edits)
        luminance = luminance_correlation(drawn, edits)
        return [
            {
                "psnr": background[i]["background_psnr"], "psnr_rendering": to_rendering[i],
                "ssim": background[i]["background_ssim"], "lpips": outside[i], **verdicts[i],
                "luminance": luminance[i], "to_wanted": inside[i],
            }
            for i in range(len(edits))
        ]  # fmt: skip

    def _judged(self, drawn: Tensor, edits: Edits) -> list[Row]:
        things, colours = (logits.log_softmax(1) for logits in self.judge(crop(drawn, edits.mask)))
        return [_verdict(things[row], colours[row], fact) for row, fact in enumerate(edits.facts)]


def _verdict(things: Tensor, colours: Tensor, fact: Facts) -> Row:
    """Return whether colour (for a recoloured thing) or thing (or "nothing") is right, and more."""
    named = int(things.argmax()) == fact.thing
    if fact.kind != "recolour":
        return {"right": named, "chance": float(things[fact.thing].exp()), "named": named}
    assert fact.colour != UNKNOWN
    right = int(colours.argmax()) == fact.colour
    chance = float((colours[fact.colour] + things[fact.thing]).exp())
    return {"right": right, "chance": chance, "named": named}


def luminance_correlation(drawn: Tensor, edits: Edits) -> list[float]:
    """Return Pearson's correlation with the source's luminance over a recoloured thing.

    It is nan for other kinds of edit, which ask for another thing.
    """
    weights = torch.tensor([0.299, 0.587, 0.114], device=drawn.device).view(1, 3, 1, 1)
    pairs = [(pictures * weights).sum(1) for pictures in (drawn, edits.source)]
    found = []
    for row, fact in enumerate(edits.facts):
        where = edits.thing[row]
        if fact.kind != "recolour" or not where.any():
            found.append(math.nan)
            continue
        found.append(float(torch.corrcoef(torch.stack([part[row][where] for part in pairs]))[0, 1]))
    return found


def in_bytes(pictures: Tensor) -> Tensor:
    """Return pictures in [−1, 1] rounded as in 8-bit files."""
    return ((pictures.float() + 1) * 127.5).clamp(0, 255).floor() / 127.5 - 1


def pixels_of(pictures: Tensor) -> np.ndarray:
    """Convert pictures from :func:`in_bytes` to (S, H, W, 3) uint8."""
    whole = ((pictures + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return whole.permute(0, 2, 3, 1).cpu().numpy()
