"""Generate an edit scale by scale, and decode the generated code into a picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from editinfinity.compute import report_memory_faults
from editinfinity.editing import sampler
from editinfinity.editing.blend_mask import resample_blend_mask
from editinfinity.files.checkpoints import Adapter, remove_adapter
from editinfinity.files.features import ImageFeatures, PromptFeatures
from editinfinity.files.images import from_model
from editinfinity.method.approach import Edit, approach_of
from editinfinity.models.scale_passes import ScalePasses
from editinfinity.models.transformer import Infinity
from editinfinity.settings.groups import GuidanceSettings, SamplingSettings

if TYPE_CHECKING:
    from editinfinity.models.tokenizer import Tokenizer


def use_adapter(
    transformer: Infinity, adapter: Adapter | None, name: Path | str = "adapter"
) -> None:
    """Apply an adapter to a transformer instead of the one before, and leave it there.

    Nothing is done if it is the same object. So further pictures with it need not wait for the
    layers to be wrapped, and can replay CUDA graphs, for which the adapter must stay at the same
    memory addresses.

    Args:
        transformer: the transformer; its layers are wrapped in place.
        adapter: the adapter, or None for none.
        name: name of the adapter in error messages.

    Raises:
        UserError: the adapter belongs to another model; none is applied then.
    """
    if adapter is not None and transformer.adapter is adapter:
        return
    # Until all layers are wrapped, the next call takes off what an interrupt has left.
    transformer.adapter = None
    remove_adapter(transformer)
    if adapter is not None:
        adapter.apply_to(transformer, transformer.device, name)
        transformer.adapter = adapter


@contextmanager
def adapted(
    transformer: Infinity, adapter: Adapter | None, name: Path | str = "adapter"
) -> Iterator[None]:
    """Apply an adapter, or None, to the transformer inside the block; see :func:`use_adapter`."""
    use_adapter(transformer, adapter, name)
    try:
        yield
    finally:
        use_adapter(transformer, None)


@report_memory_faults("choose a smaller pixel_budget")
def draw(
    transformer: Infinity,
    photograph: ImageFeatures,
    prompt: PromptFeatures,
    sampling: SamplingSettings,
    *,
    soft_prompt: Tensor | None = None,
    blend_mask: NDArray[np.float32] | None = None,
    source_prompt: PromptFeatures | None = None,
    guidance: GuidanceSettings = GuidanceSettings(),
    lock_scales: int = 0,
    passes: sampler.MakePasses = ScalePasses,
    on_logits: Callable[[int, Tensor], None] | None = None,
) -> Tensor:
    """Sample a picture for the edit prompt; a blend mask keeps the photograph where it is 1.

    Args:
        transformer: the transformer, with the adapter applied if one is used.
        photograph: the photograph to edit.
        prompt: the edit prompt, which describes the edited picture.
        sampling: seed, guidance scale, temperature and cut-offs (top-k, top-p).
        soft_prompt: learned vectors, (N, width of the text features), appended to the edit prompt
            and the source prompt; None for none.
        blend_mask: (h, w) on ``schedule.reference_grid``: 1 keeps the photograph's code, 0 takes
            the generated one. None lets the whole picture change.
        source_prompt: the source prompt, for guidances that compare both prompts.
        guidance: how the prompts decide the bits.
        lock_scales: number of first scales that keep the photograph's codes.
        passes: creates the object that runs the transformer at each scale, see ``sampler.sample``;
            replaced to use CUDA graphs.
        on_logits: called after the prediction of each scale, see ``sampler.sample``; on a GPU, when
            it has been queued.

    Returns:
        The code of the picture, (1, d, H, W); ``decode`` converts it into an image.

    Raises:
        UserError: the guidance needs a source prompt, and there is none.
        GpuMemoryError: the GPU ran out of memory.
    """
    schedule, keep = photograph.schedule, None
    if blend_mask is not None:
        resampled = resample_blend_mask(blend_mask, schedule.tokenizer_grid)
        keep = torch.from_numpy(resampled).to(transformer.device)
    edit = Edit(
        transformer, photograph, prompt, source_prompt, soft_prompt, keep, sampling, guidance
    )
    approach, text = approach_of(edit), edit.text
    if approach.watcher is None and transformer.device.type == "cuda":
        text = text.pad(_padded_length(text.features.shape[1], transformer.config.text_length))
    return sampler.sample(
        transformer,
        text,
        schedule,
        sampling,
        torch.Generator().manual_seed(sampling.seed),
        edit=approach.lock(edit.codes, lock_scales),
        watcher=approach.watcher,
        on_logits=on_logits,
        guidance=approach.guidance,
        # Recorded passes cannot be watched.
        passes=passes if approach.watcher is None else ScalePasses,
    ).code


_PADDED_TOKENS = 64
"""Texts are padded to a multiple of this number of tokens on a GPU.

So prompts of different lengths, with a soft prompt of 20 vectors or without, replay the same CUDA
graphs. Recorded and other drawings are padded alike, so that they are equal.
"""


def _padded_length(tokens: int, most: int) -> int:
    """Return the length that a text is padded to, for a model of texts of ``most`` tokens."""
    return min(-(-tokens // _PADDED_TOKENS) * _PADDED_TOKENS, most)


@report_memory_faults("choose a smaller pixel_budget")
@torch.inference_mode()
def decode(tokenizer: Tokenizer, code: Tensor) -> Image.Image:
    """Decode a code (1, d, H, W) into a picture at the model's size.

    Raises:
        GpuMemoryError: the GPU ran out of memory.
    """
    return from_model(tokenizer.decode(code)[0].float().cpu().numpy())
