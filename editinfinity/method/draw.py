"""Draw an edit scale by scale, and decode what was drawn."""

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

from editinfinity.compute import telling_memory_faults
from editinfinity.editing import sampler
from editinfinity.editing.blend import Editor, KernelBlend, LockFirst, keep_generated
from editinfinity.editing.guidance import ClassifierFree, Guidance, SourceNegative
from editinfinity.editing.kernel import resample_kernel
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
    """Have an adapter on the transformer's layers meanwhile; None for none.

    Args:
        transformer: its layers are wrapped in place.
        adapter: what to put on.
        name: of the adapter, for messages.

    Raises:
        UserError: the adapter is another model's.
    """
    if adapter is None:
        yield
        return
    wrapped = adapter.put_on(transformer, transformer.device, name)
    try:
        yield
    finally:
        wrapped.unload()


@telling_memory_faults("choose a smaller pixel_budget")
def draw(
    transformer: Infinity,
    photograph: ImageFeatures,
    prompt: PromptFeatures,
    sampling: SamplingSettings,
    *,
    vectors: Tensor | None = None,
    kernel: NDArray[np.float32] | None = None,
    negative_text: PromptFeatures | None = None,
    lock_scales: int = 0,
    passes: Callable[[Infinity, TextFeatures, ScaleSchedule], ScalePasses] = ScalePasses,
) -> Tensor:
    """Sample the edit prompt, blended with the photograph's codes where there is a kernel.

    Args:
        transformer: with the adapter on it, to edit with one.
        photograph: what is edited.
        prompt: what the edited picture shows.
        sampling: seed, guidance, temperature and cut-offs.
        vectors: learned ones, (N, Ct5), to follow each prompt; None to edit without.
        kernel: G on the ratio's 1M last scale; None to let everything change.
        negative_text: the source prompt, to lead away from what it says; None for plain guidance.
        lock_scales: first scales that stay the photograph's.
        passes: runs the model, as ``sampler.sample`` says.

    Returns:
        The code of the picture, (1, d, H, W); ``decode`` shows it.

    Raises:
        MemoryFault: the GPU's memory ran out.
    """
    device, schedule = transformer.device, photograph.schedule
    blend: Editor = keep_generated
    guidance: Guidance = ClassifierFree(sampling.cfg)
    codes, inside = sampler.codes_of(photograph.bits, schedule, device), None
    if kernel is not None:
        kept = torch.from_numpy(resample_kernel(kernel, schedule.tokenizer_grid)).to(device)
        blend, inside = KernelBlend(codes, kept), 1 - kept
    if lock_scales:
        blend = LockFirst(codes, lock_scales, blend)
    text = _text_of(prompt, vectors, device)
    if negative_text is not None:
        source = _text_of(negative_text, vectors, device)
        guidance = SourceNegative(sampling.cfg, source, inside, schedule)
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


@telling_memory_faults("choose a smaller pixel_budget")
@torch.inference_mode()
def decode(tokenizer: Tokenizer, code: Tensor) -> Image.Image:
    """The picture of a code (1, d, H, W), at the model's size.

    Raises:
        MemoryFault: the GPU's memory ran out.
    """
    return from_model(tokenizer.decode(code)[0].float().cpu().numpy())


def _text_of(prompt: PromptFeatures, vectors: Tensor | None, device: torch.device) -> TextFeatures:
    """A prompt, with the learned vectors behind it if any."""
    text = TextFeatures.of(prompt.features, device)
    return text if vectors is None else text.append(vectors.to(device))
