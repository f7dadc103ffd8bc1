"""The metrics by name, in the order of the tables. Does not import torch."""

from __future__ import annotations

from dataclasses import dataclass

PSNR_CAP = 100.0
"""Maximum PSNR reported, in decibels, because an identical background has an infinite PSNR. A
difference of one level in one byte of a 512² picture gives 107 dB, so a background that is reported
as 100 is identical or almost identical."""


@dataclass(frozen=True)
class Metric:
    """One metric of an edit.

    Attributes:
        name: name of its column in ``results/metrics.tsv``.
        title: title for headings.
        higher_is_better: whether a higher value is better.
        published_factor: factor by which papers multiply it in their tables.
        meaning: explanation in one line.
    """

    name: str
    title: str
    higher_is_better: bool
    published_factor: int
    meaning: str


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("background_psnr", "Background PSNR", True, 1, "decibels outside the mask"),
        Metric("background_ssim", "Background SSIM", True, 100, "structure outside the mask"),
        Metric("background_mse", "Background MSE", False, 10_000, "squared error outside the mask"),
        Metric("background_lpips", "Background LPIPS", False, 1000, "perceptual distance outside"),
        Metric("clip_whole", "CLIP whole", True, 1, "similarity to the edit prompt, 0…100"),
        Metric("clip_edited", "CLIP edited", True, 1, "the same, in the masked region"),
        Metric("structure_distance", "Structure distance", False, 1000, "change of DINO structure"),
        Metric("image_reward", "ImageReward", True, 10, "predicted human preference"),
        Metric(
            "alignment",
            "Alignment (bundled world)",
            True,
            1,
            "how surely this project's judge recognises what the prompt names, 0…1; not CLIP",
        ),
    )
}
"""Metrics by name, in order."""

NAMES = tuple(METRICS)
