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
    """Sample a picture for the edit prompt; a blend mask keeps the photograph where it is 1.

    Args:
        transformer: the transformer, with the adapter applied if one is used.
        photograph: the photograph to edit.
        prompt: the edit prompt, which describes the edited picture.
        sampling: seed, guidance scale, temperature and cut-offs (top-k, top-p).
        soft_prompt: learned vectors, (N, width of the text features), appended to the edit prompt
            and the negative prompt; None for none.
        blend_mask: (h, w) on ``schedule.reference_grid``: 1 keeps the photograph's code, 0 takes
            the generated one. None lets the whole picture change.
        negative_text: the source prompt, used as the negative prompt; None for plain
            classifier-free guidance.
        lock_scales: number of first scales that keep the photograph's codes.
        passes: creates the object that runs the transformer at each scale, see ``sampler.sample``;
            replaced to use CUDA graphs.

    Returns:
        The code of the picture, (1, d, H, W); ``decode`` converts it into an image.

    Raises:
        GpuMemoryError: the GPU ran out of memory.
    """
    device, schedule = transformer.device, photograph.schedule
    editor: Editor = keep_generated
    guidance: Guidance = ClassifierFree(sampling.cfg)
    source_codes = sampler.codes_of(photograph.bits, schedule, device)
    edit_mask = None
    if blend_mask is not None:
        resampled = resample_blend_mask(blend_mask, schedule.tokenizer_grid)
        keep = torch.from_numpy(resampled).to(device)
        editor, edit_mask = MaskBlend(source_codes, keep), 1 - keep
    if lock_scales:
        editor = LockFirst(source_codes, lock_scales, editor)
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
        edit=editor,
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
