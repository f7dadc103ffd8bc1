"""Structure distance: how the self-similarity of DINO's keys changes (arXiv 2201.00424).

Keys of the last of twelve layers of DINO ViT-B/8, all heads side by side, the class token included;
cosines of all pairs of tokens; mean squared difference between the two pictures.

Two quirks of the benchmark's evaluator are kept. Its input is 0–255 and is *never* divided by 255
before the ImageNet normalisation, so that a white pixel comes in at about 1100 and not at 2.6. And
its resizing to 224 (of torchvision 0.13, which it was published with) does not smooth what it
shrinks.
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
from editinfinity.evaluation.pretrained import from_folder, normalized
from editinfinity.evaluation.scorer import Edited
from editinfinity.files.loading import frozen

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIDE, LONGEST = 224, 480
"""Shorter side of what DINO looks at, and the most of its longer one."""


def prepare(pixels: Pixels) -> Tensor:
    """(1, 3, h, w) fp32 as the evaluator feeds it: of the size, unscaled, normalised."""
    picture = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
    height, width = picture.shape[-2:]
    short, long = min(height, width), max(height, width)
    wanted_short, wanted_long = SIDE, int(SIDE * long / short)
    if wanted_long > LONGEST:
        wanted_short, wanted_long = int(LONGEST * wanted_short / wanted_long), LONGEST
    size = (wanted_short, wanted_long) if height <= width else (wanted_long, wanted_short)
    picture = F.interpolate(picture, size, mode="bilinear", align_corners=False, antialias=False)
    return normalized(picture, _MEAN, _STD)


def self_similarity(keys: Tensor) -> Tensor:
    """(1, tokens, width) → (1, tokens, tokens) cosines."""
    norms = keys.norm(dim=2, keepdim=True)
    return (keys @ keys.transpose(1, 2)) / (norms @ norms.transpose(1, 2)).clamp(min=1e-8)


class Dino:
    """DINO, of which the last layer's keys are read; a folder as the hub lays it out.

    Raises:
        UserError: it cannot be read.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        from transformers import ViTModel

        self.model: Any = frozen(from_folder(ViTModel, folder, add_pooling_layer=False), device)
        self.device = device
        self._key = _last_key(self.model, folder)

    @torch.inference_mode()
    def keys(self, picture: Tensor) -> Tensor:
        """(1, 3, h, w) → (1, 1 + patches, width), heads side by side."""
        seen: list[Tensor] = []
        hook = self._key.register_forward_hook(lambda module, given, keys: seen.append(keys))
        try:
            self.model(picture.to(self.device), interpolate_pos_encoding=True)
        finally:
            hook.remove()
        return seen[0].float()

    def measure(self, edited: Edited) -> Mapping[str, float]:
        """``structure_distance``: mean squared difference of both pictures' self-similarities."""
        pictures = (edited.source, edited.result)
        before, after = (self_similarity(self.keys(prepare(pixels))) for pixels in pictures)
        return {"structure_distance": float(F.mse_loss(after, before))}


def _last_key(model: nn.Module, folder: Path) -> nn.Module:
    """The layer that makes the last block's keys; transformers 4 and 5 name it differently."""
    found = [
        module
        for name, module in model.named_modules()
        if name.endswith((".attention.attention.key", ".attention.k_proj"))
    ]
    if not found:
        raise UserError(f"{folder}: is no vision transformer with keys; give DINO ViT-B/8")
    return found[-1]
