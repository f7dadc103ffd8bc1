"""CLIP similarity of picture and edit prompt, 100·cos (arXiv 2104.08718), with transformers.

Computed as torchmetrics' CLIPScore does with ``openai/clip-vit-large-patch14``: negative values
become 0, and a prompt is truncated to the model's 77 tokens. For the edited region, the picture is
multiplied by the mask, not cropped, and compared with the whole prompt.
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
from editinfinity.evaluation.pretrained import load_pretrained
from editinfinity.evaluation.scorer import EMPTY, EditedPicture
from editinfinity.files.loading import freeze


class Clip:
    """CLIP with its tokenizer and image processor, from a folder in the layout of transformers.

    Attributes:
        model, tokenizer, images: the model, tokenizer and image processor of transformers.

    Raises:
        UserError: if the folder cannot be read.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        from transformers import CLIPModel, CLIPTokenizer

        self.model: Any = freeze(load_pretrained(CLIPModel, folder), device)
        self.tokenizer: Any = load_pretrained(CLIPTokenizer, folder)
        self.images: Any = load_pretrained(_image_processor(), folder)
        self.device = device

    def text(self, prompt: str) -> Tensor:
        """Return the embedding of a prompt, (1, width), of unit length."""
        longest = self.model.config.text_config.max_position_embeddings
        tokens = self.tokenizer(prompt, return_tensors="pt", truncation=True, max_length=longest)
        pooled = self.model.text_model(**tokens.to(self.device)).pooler_output
        return F.normalize(self.model.text_projection(pooled), dim=-1)

    def picture(self, pixels: Pixels) -> Tensor:
        """Return the embedding of a picture, (1, width), of unit length."""
        inputs = self.images(
            images=[pixels], return_tensors="pt", input_data_format="channels_last"
        )
        pooled = self.model.vision_model(inputs["pixel_values"].to(self.device)).pooler_output
        return F.normalize(self.model.visual_projection(pooled), dim=-1)

    @torch.inference_mode()
    def similarity(self, pixels: Pixels, prompt: str) -> float:
        """Return 100·cos of the embeddings of picture and prompt, at least 0."""
        return max(0.0, 100 * float((self.picture(pixels) * self.text(prompt)).sum()))

    def measure(self, edited: EditedPicture) -> Mapping[str, float]:
        """Return ``clip_whole`` and ``clip_edited``; the latter is nan if the mask is empty."""
        region = edited.region
        part = (edited.result * region[..., None]).astype(np.uint8)
        whole = self.similarity(edited.result, edited.plain_prompt)
        inside = self.similarity(part, edited.plain_prompt) if region.any() else EMPTY
        return {"clip_whole": whole, "clip_edited": inside}


def _image_processor() -> Any:
    """Return the image processor based on Pillow. Its name differs in transformers 4 and 5."""
    import transformers

    if hasattr(transformers, "CLIPImageProcessorPil"):
        return transformers.CLIPImageProcessorPil
    return transformers.CLIPImageProcessor
