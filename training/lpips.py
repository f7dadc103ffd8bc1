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


class Lpips(nn.Module):
    """Distance of two batches of pictures; frozen."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        weights = load_file(path)
        for index in range(5):
            for kind in ("weight", "bias"):
                self.register_buffer(f"{kind}{index}", weights[f"convolutions.{index}.{kind}"])
            self.register_buffer(f"head{index}", weights[f"heads.{index}"].view(1, -1, 1, 1))
        self.register_buffer("shift", torch.tensor(_SHIFT).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor(_SCALE).view(1, 3, 1, 1))

    def features(self, pictures: Tensor) -> list[Tensor]:
        """Unit-length features of each of the five layers."""
        x = (pictures - self.shift) / self.scale
        layers = []
        for index in range(5):
            if index in (1, 2):
                x = F.max_pool2d(x, 3, 2)
            weight, bias = getattr(self, f"weight{index}"), getattr(self, f"bias{index}")
            x = F.relu(F.conv2d(x, weight, bias, _STRIDES[index], _PADS[index]))
            wide = x.float()
            layers.append(wide / (wide.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return layers

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """(B, 3, H, W) in [−1, 1] twice → (B,) distances."""
        total = torch.zeros(len(first), device=first.device)
        for index, (a, b) in enumerate(
            zip(self.features(first), self.features(second), strict=True)
        ):
            head = getattr(self, f"head{index}")
            total = total + ((a - b).square() * head).sum(1).mean((1, 2))
        return total
