"""Encode a photograph with the tokenizer, once for all later steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from PIL import Image

from editinfinity.compute import report_memory_faults
from editinfinity.files.cropping import Region
from editinfinity.files.features import ImageFeatures
from editinfinity.files.geometry import Geometry
from editinfinity.files.images import model_pixels, schedule_for, size_of, to_model
from editinfinity.models.bsq import quantize
from editinfinity.presets import Preset

if TYPE_CHECKING:
    from editinfinity.models.tokenizer import Tokenizer


@report_memory_faults("choose a smaller pixel_budget")
@torch.inference_mode()
def encode_photograph(
    photograph: Image.Image,
    region: Region | None,
    pixel_budget: str,
    preset: Preset,
    tokenizer: Tokenizer,
) -> ImageFeatures:
    """Encode a photograph, or a region of it.

    Args:
        photograph: RGB image with its EXIF orientation applied.
        region: (top, left, height, width) in pixels; None for the whole photograph.
        pixel_budget: a key of ``editinfinity.scales.PIXEL_BUDGETS``.
        preset: the model's preset.
        tokenizer: the model's tokenizer.

    Raises:
        GpuMemoryError: the GPU ran out of memory.
    """
    size = size_of(photograph)
    schedule = schedule_for(
        size if region is None else region[2:], pixel_budget, preset.transformer.patchify
    )
    geometry = Geometry.within(size, region, schedule.image_size)
    pixels = to_model(photograph, geometry)
    device = next(tokenizer.parameters()).device
    raw = tokenizer.encode(torch.from_numpy(pixels)[None].to(device))
    bits = quantize(raw, schedule.tokenizer_scales).bits
    return ImageFeatures(
        preset=preset.name,
        schedule=schedule,
        geometry=geometry,
        bits=[scale_bits[0].cpu().numpy() for scale_bits in bits],
        raw=raw[0].float().cpu().numpy(),
        pixels=model_pixels(pixels),
    )
