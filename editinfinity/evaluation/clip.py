"""CLIP similarity of picture and edit prompt, 100·cos (arXiv 2104.08718), through transformers.

As torchmetrics' CLIPScore has it with ``openai/clip-vit-large-patch14``: below nothing it is 0, and
a prompt is cut at the model's 77 tokens. The edited part is the picture multiplied by the mask, not
cropped, against the whole prompt.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from editinfinity.evaluation.canvas import Pixels
from editinfinity.evaluation.pretrained import from_folder
from editinfinity.evaluation.scorer import EMPTY, Edited
from editinfinity.files.loading import frozen


class Clip:
    """CLIP with its two ways of reading, of a folder as ``save_pretrained`` or the hub lays it out.

    Attributes:
        model, tokenizer, images: of transformers.

    Raises:
        UserError: it cannot be read.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        from transformers import CLIPModel, CLIPTokenizer

        self.model: Any = frozen(from_folder(CLIPModel, folder), device)
        self.tokenizer: Any = from_folder(CLIPTokenizer, folder)
        self.images: Any = from_folder(_image_processor(), folder)
        self.device = device

    def text(self, prompt: str) -> Tensor:
        """(1, width) of unit length."""
        longest = self.model.config.text_config.max_position_embeddings
        tokens = self.tokenizer(prompt, return_tensors="pt", truncation=True, max_length=longest)
        pooled = self.model.text_model(**tokens.to(self.device)).pooler_output
        return F.normalize(self.model.text_projection(pooled), dim=-1)

    def picture(self, pixels: Pixels) -> Tensor:
        """(1, width) of unit length."""
        inputs = self.images(
            images=[pixels], return_tensors="pt", input_data_format="channels_last"
        )
        pooled = self.model.vision_model(inputs["pixel_values"].to(self.device)).pooler_output
        return F.normalize(self.model.visual_projection(pooled), dim=-1)

    @torch.inference_mode()
    def similarity(self, pixels: Pixels, prompt: str) -> float:
        """100·cos, at least 0."""
        return max(0.0, 100 * float((self.picture(pixels) * self.text(prompt)).sum()))

    def measure(self, edited: Edited) -> Mapping[str, float]:
        """``clip_whole`` and ``clip_edited``."""
        region = edited.region
        part = (edited.result * region[..., None]).astype(np.uint8)
        whole = self.similarity(edited.result, edited.words)
        inside = self.similarity(part, edited.words) if region.any() else EMPTY
        return {"clip_whole": whole, "clip_edited": inside}


def _image_processor() -> Any:
    """The one on Pillow, which transformers 4 and 5 call differently."""
    import transformers

    if hasattr(transformers, "CLIPImageProcessorPil"):
        return transformers.CLIPImageProcessorPil
    return transformers.CLIPImageProcessor
