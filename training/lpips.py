"""LPIPS, the learned perceptual distance (arXiv 1801.03924), with AlexNet."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)
_STRIDES, _PADS = (4, 1, 1, 1, 1), (2, 2, 1, 1, 1)


def layer_distance(first: Tensor, second: Tensor, head: Tensor) -> Tensor:
    """Return the weighted distance (B,) of a layer's features (B, C, H, W) at unit length."""
    units = [f.float() / (f.float().square().sum(1, keepdim=True).sqrt() + 1e-10)
             for f in (first, second)]  # fmt: skip
    return ((units[0] - units[1]).square() * head).sum(1).mean((1, 2))


class Lpips(nn.Module):
    """Distance of two batches of pictures; frozen.

    ``layer_distance`` may be replaced by a compiled one.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        weights = load_file(path)
        for index in range(5):
            for kind in ("weight", "bias"):
                self.register_buffer(f"{kind}{index}", weights[f"convolutions.{index}.{kind}"])
            self.register_buffer(f"head{index}", weights[f"heads.{index}"].view(1, -1, 1, 1))
        self.register_buffer("shift", torch.tensor(_SHIFT).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor(_SCALE).view(1, 3, 1, 1))
        self.layer_distance = layer_distance

    def features(self, pictures: Tensor) -> list[Tensor]:
        """Return the features of each of the five layers."""
        x = (pictures - self.shift) / self.scale
        layers = []
        for index in range(5):
            if index in (1, 2):
                x = F.max_pool2d(x, 3, 2)
            weight, bias = getattr(self, f"weight{index}"), getattr(self, f"bias{index}")
            x = F.relu(F.conv2d(x, weight, bias, _STRIDES[index], _PADS[index]))
            layers.append(x)
        return layers

    def forward(self, drawn: Tensor, wanted: Tensor) -> Tensor:
        """Return the distances (B,) of pictures (B, 3, H, W); gradients reach only ``drawn``."""
        with torch.no_grad():
            reference = self.features(wanted)
        layers = zip(self.features(drawn), reference, strict=True)
        distances = [
            self.layer_distance(a, b, getattr(self, f"head{index}"))
            for index, (a, b) in enumerate(layers)
        ]
        return torch.stack(distances).sum(0)
