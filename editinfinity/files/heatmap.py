"""Heatmaps: a map of numbers drawn as colours over a photograph."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_STOPS = np.array(
    [[0, 0, 60], [90, 20, 140], [210, 60, 90], [250, 150, 30], [255, 250, 160]], dtype=np.float32
)
"""Colour stops: dark blue, violet, red, orange, pale yellow.

Lightness increases monotonically, so that the heatmap is readable in greyscale too.
"""

_MAX_OPACITY = 0.6
"""Opacity of the colours where the map is highest; the photograph stays visible below."""


def heatmap_over(photograph: NDArray[np.uint8], values: NDArray[np.floating]) -> Image.Image:
    """Draw a map as colours, scaled from its minimum to its maximum, over a photograph.

    Args:
        photograph: (H, W, 3) RGB.
        values: (h, w) map with any value range, resized bilinearly to the photograph.

    Returns:
        An RGB picture of the photograph's size.
    """
    low, high = float(values.min()), float(values.max())
    normalised = (values.astype(np.float32) - low) / (high - low if high > low else 1)
    size = (photograph.shape[1], photograph.shape[0])
    enlarged = np.asarray(Image.fromarray(normalised).resize(size, Image.Resampling.BILINEAR))
    colours = colours_of(enlarged)
    opacity = _MAX_OPACITY * (0.5 + 0.5 * enlarged[..., None])
    return Image.fromarray((photograph * (1 - opacity) + colours * opacity).astype(np.uint8))


def colours_of(normalised: NDArray[np.floating]) -> NDArray[np.floating]:
    """Map numbers (h, w) in [0, 1] to colours (h, w, 3) in 0…255."""
    position = np.clip(normalised, 0, 1) * (len(_STOPS) - 1)
    lower = np.minimum(position.astype(int), len(_STOPS) - 2)
    fraction = (position - lower)[..., None]
    return _STOPS[lower] * (1 - fraction) + _STOPS[lower + 1] * fraction
