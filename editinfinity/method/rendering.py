"""What the tokenizer shows of a photograph: its own code, decoded without any edit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from PIL import Image

from editinfinity.compute import report_memory_faults
from editinfinity.files.features import ImageFeatures
from editinfinity.files.images import from_model
from editinfinity.models.bsq import upsampled_codes

if TYPE_CHECKING:
    from editinfinity.models.tokenizer import Tokenizer


@report_memory_faults("choose a smaller pixel_budget")
@torch.inference_mode()
def render(tokenizer: Tokenizer, photograph: ImageFeatures) -> Image.Image:
    """Decode a photograph's own code into a picture at the model's size.

    The photograph minus this picture is the detail that the tokenizer loses, which ``Compositor``
    puts back with ``background: detail``.

    Raises:
        GpuMemoryError: the GPU ran out of memory.
    """
    device = next(tokenizer.parameters()).device
    bits = [torch.from_numpy(scale_bits)[None].to(device) for scale_bits in photograph.bits]
    codes = torch.stack(upsampled_codes(bits, photograph.schedule.tokenizer_grid))
    return from_model(tokenizer.decode(codes.sum(0))[0].float().cpu().numpy())
