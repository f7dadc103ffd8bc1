"""Decide where a transformer's weights stay between pieces of work: on the GPU, or in RAM.

With weights in RAM, each piece of work puts on the GPU what fits (``models/placement.py``).
"""

from __future__ import annotations

import logging
from functools import lru_cache

import torch

from editinfinity.compute import block_dtype, free_bytes
from editinfinity.files.loading import build_on_meta
from editinfinity.inversion.gradient_checkpointing import (
    least_training_bytes,
    recomputed_training_bytes,
)
from editinfinity.models.placement import on_device, weight_bytes
from editinfinity.models.scale_cache import all_sampling_bytes, least_sampling_bytes
from editinfinity.models.transformer import Infinity
from editinfinity.presets import Preset
from editinfinity.scales import ScaleSchedule, schedule

log = logging.getLogger(__name__)

_ROWS, _MAX_ROWS = 2, 3
"""Texts that a drawing predicts for: with classifier-free guidance, and at most."""

_GIB = 2**30


@lru_cache
def stays_in_ram(memory: str, preset: Preset, device: torch.device) -> bool:
    """Return whether a preset's transformer stays in RAM; decided once for each process.

    Args:
        memory: the setting ``memory``. ``auto`` means ``low`` if the GPU has less free memory than
            an edit and a training at the preset's own size need, all blocks recomputed.
        preset: the preset.
        device: the device the transformer runs on.
    """
    if device.type != "cuda":
        return False
    free = free_bytes(device) + torch.cuda.memory_allocated(device)
    needed = fast_bytes(preset, block_dtype(device))
    if memory == "low" or free < needed:
        log.info(
            "the GPU has %.1f GiB free, and %s is fastest with %.1f: its transformer stays in RAM, "
            "and on the GPU is what fits (memory: low)",
            free / _GIB,
            preset.name,
            needed / _GIB,
        )
        return True
    return False


def fast_bytes(preset: Preset, dtype: torch.dtype) -> int:
    """Return the GPU memory for the weights, and for an edit or a training without parking."""
    model = build_on_meta(lambda: Infinity(preset.transformer).set_block_dtype(dtype))
    scales = schedule(1.0, preset.pixel_budget, preset.transformer.patchify)
    batch = max(preset.training.lora_batch_size, preset.training.embedding_batch_size)
    return weight_bytes(model) + max(
        all_sampling_bytes(preset.transformer, scales, _ROWS, dtype),
        recomputed_training_bytes(model, batch * scales.tokens),
    )


def for_sampling(model: Infinity, device: torch.device, scales: ScaleSchedule) -> Infinity:
    """Return the transformer for drawing on a device; itself if it is there."""
    dtype = model.blocks[0].ffn_dtype
    return on_device(model, device, least_sampling_bytes(model.config, scales, _MAX_ROWS, dtype))


def for_training(model: Infinity, device: torch.device, tokens: int) -> Infinity:
    """Return the transformer for training on a device, on ``tokens`` in all samples of a batch."""
    return on_device(model, device, least_training_bytes(model, tokens))
