"""The tokenizer: a convolutional autoencoder whose codes are bits.

Weight-compatible with the released Infinity tokenizers (key names are those of the older files,
without the inner ``.conv``/``.norm``). Source: design document "model", section "Tokenizer".
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from editinfinity.models.operations import PLAIN, Operations
from editinfinity.presets import TokenizerConfig


class Normalization(nn.GroupNorm):
    """Group normalisation, eps 1e-6, of 32 groups or of groups of a given width."""

    def __init__(self, channels: int, group_width: int | None) -> None:
        groups = channels // group_width if group_width else 32
        super().__init__(groups, channels, eps=1e-6)
        self.operations = PLAIN

    def swish(self, x: Tensor) -> Tensor:
        """Normalised and through the nonlinearity that always follows."""
        return self.operations.group_norm_swish(self, x)


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions, each after normalisation and swish, around a shortcut."""

    def __init__(self, width_in: int, width_out: int, group_width: int | None) -> None:
        super().__init__()
        self.norm1 = Normalization(width_in, group_width)
        self.conv1 = nn.Conv2d(width_in, width_out, 3, padding=1)
        self.norm2 = Normalization(width_out, group_width)
        self.conv2 = nn.Conv2d(width_out, width_out, 3, padding=1)
        self.nin_shortcut: nn.Module = nn.Identity()
        if width_in != width_out:
            self.nin_shortcut = nn.Conv2d(width_in, width_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(self.norm1.swish(x))
        h = self.conv2(self.norm2.swish(h))
        return self.nin_shortcut(x) + h


class Downsample(nn.Module):
    """Halve the resolution: a stride-2 convolution after padding right and bottom by one."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Double the resolution: nearest neighbour, then a convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Level(nn.Module):
    """The residual blocks of one resolution, and the change of resolution after them."""

    def __init__(self, blocks: list[ResidualBlock], name: str, resample: nn.Module | None) -> None:
        super().__init__()
        self.block = nn.ModuleList(blocks)
        self.resample_name = name if resample is not None else None
        if resample is not None:
            self.add_module(name, resample)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.block:
            x = block(x)
        return x if self.resample_name is None else self.get_submodule(self.resample_name)(x)


class Middle(nn.Module):
    """Two residual blocks at the coarsest resolution."""

    def __init__(self, width: int, group_width: int | None) -> None:
        super().__init__()
        self.block_1 = ResidualBlock(width, width, group_width)
        self.block_2 = ResidualBlock(width, width, group_width)

    def forward(self, x: Tensor) -> Tensor:
        return self.block_2(self.block_1(x))


class Encoder(nn.Module):
    """Image (B, 3, H·s, W·s) → raw features (B, d, H, W), s = 2^(levels − 1)."""

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        widths = [config.base_width * m for m in config.multipliers]
        self.conv_in = nn.Conv2d(3, config.base_width, 3, padding=1)
        self.down = nn.ModuleList()
        width = config.base_width
        for level, out in enumerate(widths):
            ins = [width] + [out] * (config.blocks - 1)
            blocks = [ResidualBlock(i, out, config.group_width) for i in ins]
            last = level == len(widths) - 1
            self.down.append(Level(blocks, "downsample", None if last else Downsample(out)))
            width = out
        self.mid = Middle(width, config.group_width)
        self.norm_out = Normalization(width, config.group_width)
        self.conv_out = nn.Conv2d(width, config.bits, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.conv_in(image)
        for level in self.down:
            x = level(x)
        return self.conv_out(self.norm_out.swish(self.mid(x)))


class Decoder(nn.Module):
    """Codes (B, d, H, W) → image (B, 3, H·s, W·s)."""

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        widths = [config.base_width * m for m in config.multipliers]
        width = widths[-1]
        self.conv_in = nn.Conv2d(config.bits, width, 3, padding=1)
        self.mid = Middle(width, config.group_width)
        levels = []
        for level, out in reversed(list(enumerate(widths))):
            ins = [width] + [out] * config.blocks
            blocks = [ResidualBlock(i, out, config.group_width) for i in ins]
            levels.append(Level(blocks, "upsample", Upsample(out) if level else None))
            width = out
        self.up = nn.ModuleList(reversed(levels))  # stored fine to coarse, as released
        self.norm_out = Normalization(width, config.group_width)
        self.conv_out = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, code: Tensor) -> Tensor:
        x = self.mid(self.conv_in(code))
        for level in reversed(self.up):
            x = level(x)
        return self.conv_out(self.norm_out.swish(x))


class Tokenizer(nn.Module):
    """Images ↔ features whose signs are bits (see :mod:`editinfinity.models.bsq`).

    Images are RGB in [−1, 1]. Runs in fp32, as upstream.
    """

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)

    def use_operations(self, operations: Operations) -> Tokenizer:
        """Compute normalisation and nonlinearity so (PLAIN unless said)."""
        for module in self.modules():
            if isinstance(module, Normalization):
                module.operations = operations
        return self

    def encode(self, image: Tensor) -> Tensor:
        """Raw, un-normalised features (B, d, H, W) of an image (B, 3, H·s, W·s) in [−1, 1]."""
        return self.encoder(image)

    def decode(self, code: Tensor) -> Tensor:
        """The image (B, 3, H·s, W·s) in [−1, 1] of a sum of codes (B, d, H, W)."""
        return self.decoder(code).clamp(-1, 1)
