"""Structure distance: how much the self-similarity of DINO's keys changes (arXiv 2201.00424).

It uses the keys of the last of the twelve layers of DINO ViT-B/8, with all heads concatenated and
the class token included. The self-similarity is the cosine of each pair of tokens. The distance is
the mean squared difference between the self-similarities of the two pictures.

Two quirks of the benchmark's evaluator are reproduced. Its input is 0–255 and is *never* divided by
255 before the ImageNet normalisation, so the value of a white pixel is about 1100 instead of 2.6.
And its resizing to 224 (by torchvision 0.13, with which it was published) has no antialiasing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from editinfinity.errors import UserError
from editinfinity.evaluation.canvas import Pixels
from editinfinity.evaluation.pretrained import load_pretrained, normalized
from editinfinity.evaluation.scorer import EditedPicture
from editinfinity.files.loading import freeze

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SHORTER_SIDE, MAX_LONGER_SIDE = 224, 480
"""Shorter side of DINO's input, and maximum of its longer side, in pixels."""


def prepare(pixels: Pixels) -> Tensor:
    """Return the evaluator's input to DINO, (1, 3, h, w) fp32: resized, not / 255, normalised."""
    picture = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
    height, width = picture.shape[-2:]
    shorter, longer = min(height, width), max(height, width)
    new_shorter, new_longer = SHORTER_SIDE, int(SHORTER_SIDE * longer / shorter)
    if new_longer > MAX_LONGER_SIDE:
        new_shorter, new_longer = int(MAX_LONGER_SIDE * new_shorter / new_longer), MAX_LONGER_SIDE
    size = (new_shorter, new_longer) if height <= width else (new_longer, new_shorter)
    picture = F.interpolate(picture, size, mode="bilinear", align_corners=False, antialias=False)
    return normalized(picture, _MEAN, _STD)


def self_similarity(keys: Tensor) -> Tensor:
    """Return the cosines of all pairs of tokens: (1, tokens, width) → (1, tokens, tokens)."""
    norms = keys.norm(dim=2, keepdim=True)
    return (keys @ keys.transpose(1, 2)) / (norms @ norms.transpose(1, 2)).clamp(min=1e-8)


class Dino:
    """DINO, loaded from a folder in the hub's layout, to get the keys of its last layer.

    Raises:
        UserError: if the folder cannot be read.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        from transformers import ViTModel

        self.model: Any = freeze(load_pretrained(ViTModel, folder, add_pooling_layer=False), device)
        self.device = device
        self._key = _last_key(self.model, folder)

    @torch.inference_mode()
    def keys(self, picture: Tensor) -> Tensor:
        """Return the keys, heads concatenated: (1, 3, h, w) → (1, 1 + patches, width)."""
        captured: list[Tensor] = []
        hook = self._key.register_forward_hook(lambda module, inputs, keys: captured.append(keys))
        try:
            self.model(picture.to(self.device), interpolate_pos_encoding=True)
        finally:
            hook.remove()
        return captured[0].float()

    def measure(self, edited: EditedPicture) -> Mapping[str, float]:
        """Return ``structure_distance``: mean squared difference of the two self-similarities."""
        pictures = (edited.source, edited.result)
        before, after = (self_similarity(self.keys(prepare(pixels))) for pixels in pictures)
        return {"structure_distance": float(F.mse_loss(after, before))}


def _last_key(model: nn.Module, folder: Path) -> nn.Module:
    """Return the key layer of the last block; transformers 4 and 5 name it differently."""
    layers = [
        module
        for name, module in model.named_modules()
        if name.endswith((".attention.attention.key", ".attention.k_proj"))
    ]
    if not layers:
        raise UserError(f"{folder}: has no attention key layers; use the folder of DINO ViT-B/8")
    return layers[-1]
