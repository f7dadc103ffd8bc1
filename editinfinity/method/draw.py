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
from editinfinity.editing.blend import Editor, LockFirst, MaskBlend, keep_generated
from editinfinity.editing.blend_mask import resample_blend_mask
from editinfinity.editing.guidance import ClassifierFree, Guidance, SourceNegative
from editinfinity.files.checkpoints import Adapter
from editinfinity.files.features import ImageFeatures, PromptFeatures
from editinfinity.files.images import from_model
from editinfinity.models.scale_passes import ScalePasses
from editinfinity.models.transformer import Infinity, TextFeatures
from editinfinity.scales import ScaleSchedule
from editinfinity.settings.groups import SamplingSettings

if TYPE_CHECKING:
    from editinfinity.models.tokenizer import Tokenizer


@contextmanager
def adapted(
    transformer: Infinity, adapter: Adapter | None, name: Path | str = "adapter"
) -> Iterator[None]:
    """Apply an adapter to the transformer's layers inside the block.

    Args:
        transformer: the transformer; its layers are wrapped in place.
        adapter: the adapter to apply, or None for none.
        name: name of the adapter in error messages.

    Raises:
        UserError: the adapter belongs to another model.
    """
    if adapter is None:
        yield
        return
    wrapped = adapter.apply_to(transformer, transformer.device, name)
    try:
        yield
    finally:
        wrapped.unload()


@report_memory_faults("choose a smaller pixel_budget")
def draw(
    transformer: Infinity,
    photograph: ImageFeatures,
    prompt: PromptFeatures,
    sampling: SamplingSettings,
    *,
    soft_prompt: Tensor | None = None,
    blend_mask: NDArray[np.float32] | None = None,
    negative_text: PromptFeatures | None = None,
    lock_scales: int = 0,
    passes: Callable[[Infinity, TextFeatures, ScaleSchedule], ScalePasses] = ScalePasses,
) -> Tensor:
    """Sample a picture for the edit prompt; with a blend mask, blend it into its codes.

    Args:
        transformer: the transformer, with the adapter applied if one is used.
        photograph: the photograph to edit.
        prompt: the edit prompt, which describes the edited picture.
        sampling: seed, guidance scale, temperature and cut-offs (top-k, top-p).
        soft_prompt: learned vectors, (N, Ct5), appended to each prompt; None for none.
        blend_mask: G on the ratio's 1M last scale; None lets the whole picture change.
        negative_text: the source prompt, used as the negative prompt; None for plain
            classifier-free guidance.
        lock_scales: number of first scales that keep the photograph's codes.
        passes: runs the model; see ``sampler.sample``.

    Returns:
        The code of the picture, (1, d, H, W); ``decode`` converts it into an image.

    Raises:
        GpuMemoryError: the GPU ran out of memory.
    """
    device, schedule = transformer.device, photograph.schedule
    blend: Editor = keep_generated
    guidance: Guidance = ClassifierFree(sampling.cfg)
    codes, edit_mask = sampler.codes_of(photograph.bits, schedule, device), None
    if blend_mask is not None:
        mask = torch.from_numpy(resample_blend_mask(blend_mask, schedule.tokenizer_grid)).to(device)
        blend, edit_mask = MaskBlend(codes, mask), 1 - mask
    if lock_scales:
        blend = LockFirst(codes, lock_scales, blend)
    text = _text_of(prompt, soft_prompt, device)
    if negative_text is not None:
        source = _text_of(negative_text, soft_prompt, device)
        guidance = SourceNegative(sampling.cfg, source, edit_mask, schedule)
    return sampler.sample(
        transformer,
        text,
        schedule,
        sampling,
        torch.Generator().manual_seed(sampling.seed),
        edit=blend,
        guidance=guidance,
        passes=passes,
    ).code


@report_memory_faults("choose a smaller pixel_budget")
@torch.inference_mode()
def decode(tokenizer: Tokenizer, code: Tensor) -> Image.Image:
    """Decode a code (1, d, H, W) into a picture at the model's size.

    Raises:
        GpuMemoryError: the GPU ran out of memory.
    """
    return from_model(tokenizer.decode(code)[0].float().cpu().numpy())


def _text_of(
    prompt: PromptFeatures, soft_prompt: Tensor | None, device: torch.device
) -> TextFeatures:
    """Return a prompt's features, followed by the soft prompt if there is one."""
    text = TextFeatures.of(prompt.features, device)
    return text if soft_prompt is None else text.append(soft_prompt.to(device))
