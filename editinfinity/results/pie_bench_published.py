"""Numbers that others published on PIE-Bench, in its units, and what to think of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Published:
    """One method's numbers over all 700 pictures; ``seconds`` a picture, as its authors say."""

    method: str
    values: Mapping[str, float] = field(default_factory=dict)
    seconds: str = ""


_ORDER = (
    "background_psnr", "background_lpips", "background_mse", "background_ssim", "clip_whole",
    "clip_edited", "image_reward",
)  # fmt: skip


def _row(method: str, numbers: str, seconds: str = "") -> Published:
    """Numbers in the order of ``_ORDER``, - for what is not published."""
    pairs = zip(_ORDER, numbers.split(), strict=True)
    return Published(method, {name: float(x) for name, x in pairs if x != "-"}, seconds)


PUBLISHED = (
    _row("EditInfinity", "27.95 33.08 24.27 92.12 26.41 23.47 5.88", "107 + 3.6 (212 on one A100)"),
    _row("BitResEdit", "28.53 33.06 21.34 92.98 27.00 24.30 -", "5.4 (A100)"),
    _row("BitResEdit + structure lock", "29.37 29.84 18.17 93.35 26.42 23.62 -"),
    _row("AREdit, given mask", "29.55 28.34 16.36 93.48 25.38 22.49 -", "2.5"),
    _row("NTI", "27.03 60.67 35.86 84.11 24.75 21.86 2.77", "106"),
    _row("PnP inversion", "22.46 106.06 80.45 79.68 25.41 22.62 4.17", "8"),
    _row("RF-Edit", "23.22 131.18 75.00 81.44 25.22 22.40 5.18", "110"),
    _row("Gemini 2.0", "23.22 105.17 188.63 81.10 25.28 22.28 5.30"),
)

CAVEATS = (
    "Published numbers are their authors' own runs, on other machines and sizes, and not "
    "comparable to a decimal; papers also differ in whether the editor is given the mask.",
    "About 144 of the 700 pictures have no background (their masks cover everything): each metric "
    "is a mean over the pictures that have a number for it.",
    "PSNR is told as 100 at most: an exact background has infinitely many decibels.",
    "Backgrounds are compared over the whole canvas with the masked part black, so large masks "
    "look kind; the four border lines count as edited. All as the benchmark's evaluator has it.",
    "The structure metric's input is never divided by 255, as in the evaluator.",
    "Metrics are of what the model drew, at 512 × 512; nothing of the photograph is pasted back.",
)
"""What a reader of the table must know."""
