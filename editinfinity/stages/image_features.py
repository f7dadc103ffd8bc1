"""Stage ``image_features``: a photograph as bits of every scale and raw tokenizer features."""

from __future__ import annotations

from pathlib import Path

from editinfinity.stages.settings import ModelSettings


def extract_image_features(
    *,
    image: Path,
    output: Path,
    model: ModelSettings,
    pixel_budget: str | None = None,
) -> None:
    """Encode the photograph once; every later stage reads only this file.

    ``output`` (safetensors) holds ``bits`` (packed bits of all scales, uint8), ``raw`` (d, h, w)
    fp32, and, as metadata, the preset, ratio, pixel budget and geometry.

    Args:
        image: the photograph.
        output: where the features go.
        model: which model and device.
        pixel_budget: a key of ``editinfinity.scales.PIXEL_BUDGETS``; None for the model's own.

    Raises:
        UserError: the image cannot be read, or the model's weights are missing.
    """
    raise NotImplementedError
