"""Background LPIPS: perceptual distance outside the mask (arXiv 1801.03924), with SqueezeNet 1.1.

torchmetrics' LPIPS needs torchvision for the network. To avoid that, the network is defined here;
the learned heads are those that torchmetrics ships. Both pictures are multiplied by 1 − mask and
scaled to [−1, 1].
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
import torchmetrics
from torch import Tensor, nn

from editinfinity.errors import UserError, first_sentence
from editinfinity.evaluation.background import background_of
from editinfinity.evaluation.pretrained import normalized, sub_state_dict
from editinfinity.evaluation.scorer import EMPTY, EditedPicture
from editinfinity.files.loading import freeze
from editinfinity.files.state_dicts import find_weight_files, read_state_dict

# LPIPS normalises pictures in [−1, 1] to the range that the network was trained on.
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_SLICES = ((0, 2), (2, 5), (5, 8), (8, 10), (10, 11), (11, 12), (12, 13))
"""Slices of the network's layers, as index ranges. Features are compared after each slice."""


class Fire(nn.Module):
    """SqueezeNet's block: reduces the channels, then expands them by parallel 1×1 and 3×3."""

    def __init__(self, width: int, squeezed: int, widened: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(width, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, widened, 1)
        self.expand3x3 = nn.Conv2d(squeezed, widened, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.squeeze(x))
        return torch.cat([F.relu(self.expand1x1(x)), F.relu(self.expand3x3(x))], 1)


def squeezenet_features() -> nn.Sequential:
    """Return the thirteen feature layers of SqueezeNet 1.1, with torchvision's parameter names."""

    def pool() -> nn.MaxPool2d:
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    return nn.Sequential(
        nn.Conv2d(3, 64, 3, stride=2), nn.ReLU(), pool(),
        Fire(64, 16, 64), Fire(128, 16, 64), pool(),
        Fire(128, 32, 128), Fire(256, 32, 128), pool(),
        Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256),
    )  # fmt: skip


class Lpips(nn.Module):
    """LPIPS distance of two pictures, (1, 3, H, W) in [−1, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.features = squeezenet_features()
        widths = (64, 128, 256, 384, 384, 512, 512)
        self.heads = nn.ModuleList(nn.Conv2d(width, 1, 1, bias=False) for width in widths)

    def layers(self, pictures: Tensor) -> list[Tensor]:
        """Return the features of the seven slices, each of unit length along the channels."""
        x = normalized(pictures, _SHIFT, _SCALE)
        features = []
        for first, end in _SLICES:
            x = self.features[first:end](x)
            features.append(x / (x.square().sum(1, keepdim=True) + 1e-8).sqrt())
        return features

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        pairs = zip(self.heads, self.layers(first), self.layers(second), strict=True)
        parts = [head((a - b).square()).mean((1, 2, 3)) for head, a, b in pairs]
        return torch.stack(parts).sum(0)

    @torch.inference_mode()
    def measure(self, edited: EditedPicture) -> Mapping[str, float]:
        """Return ``background_lpips``; nan if the mask covers the whole picture."""
        region = edited.region
        if region.all():
            return {"background_lpips": EMPTY}
        device = next(self.parameters()).device
        before, after = (
            background_of(pixels, region).to(device) * 2 - 1
            for pixels in (edited.source, edited.result)
        )
        return {"background_lpips": float(self(after, before))}


def load_lpips(folder: Path, device: torch.device) -> Lpips:
    """Load the network from a folder, with the heads that torchmetrics ships.

    Raises:
        UserError: if the file is not SqueezeNet 1.1.
    """
    files = find_weight_files(folder, "squeezenet1_1*", "SqueezeNet 1.1")
    model = Lpips()
    try:  # the classifier is not used
        model.features.load_state_dict(sub_state_dict(read_state_dict(files), "features."))
    except RuntimeError as error:
        reason = first_sentence(error)
        raise UserError(f"{files[0]}: is not SqueezeNet 1.1 ({reason}); get it again") from None
    heads_file = Path(torchmetrics.__file__).parent / "functional/image/lpips_models/squeeze.pth"
    heads = read_state_dict([heads_file])
    for index, head in enumerate(model.heads):
        head.load_state_dict({"weight": heads[f"lin{index}.model.1.weight"]})
    return freeze(model, device)
