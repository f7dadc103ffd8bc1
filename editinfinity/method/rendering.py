"""What the tokenizer shows of a photograph: its own code, decoded without any edit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from PIL import Image

from editinfinity.editing.sampler import codes_of
from editinfinity.files.features import ImageFeatures
from editinfinity.method.draw import decode

if TYPE_CHECKING:
    from editinfinity.models.tokenizer import Tokenizer


def render(tokenizer: Tokenizer, photograph: ImageFeatures) -> Image.Image:
    """Decode a photograph's own code into a picture at the model's size.

    The photograph minus this picture is the detail that the tokenizer loses, which ``composite``
    puts back with ``background: detail``.

    Raises:
        GpuMemoryError: the GPU ran out of memory.
    """
    device = next(tokenizer.parameters()).device
    codes = codes_of(photograph.bits, photograph.schedule, device)
    return decode(tokenizer, torch.stack(codes).sum(0))
