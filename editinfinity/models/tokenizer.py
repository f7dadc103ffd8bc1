"""The image tokenizer: a convolutional autoencoder with binary codes.

It can load the released Infinity tokenizers. Key names are those of the older files, without the
inner ``.conv``/``.norm``. Source: docs/model.md, "Tokenizer".
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from editinfinity.models.operations import PLAIN, Operations
from editinfinity.presets import TokenizerConfig


class NormSwish(nn.GroupNorm):
    """Group norm (eps 1e-6), then swish; 32 groups, or groups of ``group_width`` channels."""

    def __init__(self, channels: int, group_width: int | None) -> None:
        groups = channels // group_width if group_width else 32
        super().__init__(groups, channels, eps=1e-6)
        self.operations = PLAIN

    def forward(self, x: Tensor) -> Tensor:
        return self.operations.group_norm_swish(self, x)


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions, each after normalisation and swish, with a shortcut."""

    def __init__(self, width_in: int, width_out: int, group_width: int | None) -> None:
        super().__init__()
        self.norm1 = NormSwish(width_in, group_width)
        self.conv1 = nn.Conv2d(width_in, width_out, 3, padding=1)
        self.norm2 = NormSwish(width_out, group_width)
        self.conv2 = nn.Conv2d(width_out, width_out, 3, padding=1)
        self.nin_shortcut: nn.Module = nn.Identity()
        if width_in != width_out:
            self.nin_shortcut = nn.Conv2d(width_in, width_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(self.norm1(x))
        h = self.conv2(self.norm2(h))
        return self.nin_shortcut(x) + h


def _named(**layers: nn.Module) -> nn.Sequential:
    """Return a sequence of layers with the names that the keys of the weight files contain."""
    return nn.Sequential(OrderedDict(layers))


def _blocks(widths_in: list[int], width: int, group_width: int | None) -> nn.Sequential:
    """Return the residual blocks of one resolution; ``widths_in`` are their input widths."""
    return nn.Sequential(*(ResidualBlock(width_in, width, group_width) for width_in in widths_in))


def _downsample(width: int) -> nn.Sequential:
    """Halve the resolution: pad right and bottom by one, then apply a stride-2 convolution."""
    return _named(pad=nn.ZeroPad2d((0, 1, 0, 1)), conv=nn.Conv2d(width, width, 3, stride=2))


def _upsample(width: int) -> nn.Sequential:
    """Double the resolution: nearest-neighbour upsampling, then a convolution."""
    nearest = nn.Upsample(scale_factor=2.0, mode="nearest")
    return _named(nearest=nearest, conv=nn.Conv2d(width, width, 3, padding=1))


def _middle(width: int, group_width: int | None) -> nn.Sequential:
    """Return two residual blocks for the coarsest resolution."""
    return _named(
        block_1=ResidualBlock(width, width, group_width),
        block_2=ResidualBlock(width, width, group_width),
    )


class Encoder(nn.Module):
    """Maps images (B, 3, H·s, W·s) to raw features (B, d, H, W), s = 2^(levels − 1)."""

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        width = config.base_width
        self.conv_in = nn.Conv2d(3, width, 3, padding=1)
        self.down = nn.Sequential()
        for level, multiplier in enumerate(config.multipliers, 1):
            out = config.base_width * multiplier
            widths_in = [width] + [out] * (config.blocks - 1)
            self.down.append(_named(block=_blocks(widths_in, out, config.group_width)))
            if level < len(config.multipliers):
                self.down[-1].add_module("downsample", _downsample(out))
            width = out
        self.mid = _middle(width, config.group_width)
        self.norm_out = NormSwish(width, config.group_width)
        self.conv_out = nn.Conv2d(width, config.bits, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        return self.conv_out(self.norm_out(self.mid(self.down(self.conv_in(image)))))


class Decoder(nn.Module):
    """Maps sums of codes (B, d, H, W) to images (B, 3, H·s, W·s)."""

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        width = config.base_width * config.multipliers[-1]
        self.conv_in = nn.Conv2d(config.bits, width, 3, padding=1)
        self.mid = _middle(width, config.group_width)
        self.up = nn.ModuleList()  # fine to coarse, the order in the released files
        for level, multiplier in reversed(list(enumerate(config.multipliers))):
            out = config.base_width * multiplier
            widths_in = [width] + [out] * config.blocks
            self.up.insert(0, _named(block=_blocks(widths_in, out, config.group_width)))
            if level:
                self.up[0].add_module("upsample", _upsample(out))
            width = out
        self.norm_out = NormSwish(width, config.group_width)
        self.conv_out = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, code: Tensor) -> Tensor:
        x = self.mid(self.conv_in(code))
        for level in reversed(self.up):
            x = level(x)
        return self.conv_out(self.norm_out(x))


class Tokenizer(nn.Module):
    """Encodes images to features and decodes codes to images.

    :mod:`editinfinity.models.bsq` quantises the features to bits. Images are RGB in [−1, 1]. The
    tokenizer runs in fp32, like the upstream code.
    """

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)

    def use_operations(self, operations: Operations) -> Tokenizer:
        """Set the implementation of group norm and swish (default: ``PLAIN``); return self."""
        for module in self.modules():
            if isinstance(module, NormSwish):
                module.operations = operations
        return self

    def encode(self, image: Tensor) -> Tensor:
        """Return raw, unnormalised features (B, d, H, W) of images (B, 3, H·s, W·s) in [−1, 1]."""
        return self.encoder(image)

    def decode(self, code: Tensor) -> Tensor:
        """Return the images (B, 3, H·s, W·s) in [−1, 1] for sums of codes (B, d, H, W)."""
        return self.decoder(code).clamp(-1, 1)
