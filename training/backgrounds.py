"""Bank of background pictures: views of panoramas, photographed textures, procedural surfaces."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from training.textures import MAKERS, SIDE, uniform
from training.vocabulary import BACKDROPS, PANORAMAS

TEXTURE_TINTS = {
    "grass": ((0.62, 0.95, 0.38), (0.5, 0.78, 0.3)),
    "bricks": ((1.15, 0.62, 0.48), (0.95, 0.78, 0.66)),
}
"""The photographed textures are grey; each is tinted between two colours."""


@dataclass(frozen=True)
class BackgroundBank:
    """Pictures of every backdrop that is not a plain colour.

    Attributes:
        pictures: (M, 3, SIDE, SIDE) uint8.
        first: (backdrops,) index of the first picture of each backdrop; unused for plain ones.
        count: (backdrops,) number of pictures of each backdrop; 0 for plain ones.
    """

    pictures: Tensor
    first: np.ndarray
    count: np.ndarray


def build_backgrounds(
    folder: Path | None, each: int, device: torch.device, seed: int = 0
) -> BackgroundBank:
    """Return a bank with ``each`` pictures per backdrop (twice as many for places).

    Args:
        folder: folder with ``panoramas/`` and ``textures/``; None makes procedural stand-ins for
            the backdrops that need photographs (tests).
    """
    chunks, first, count = [], [], []
    total = 0
    for index, backdrop in enumerate(BACKDROPS):
        generator = torch.Generator().manual_seed(seed * 1000 + index)
        pictures = _pictures(folder, backdrop.name, each, generator, device)
        first.append(total)
        count.append(len(pictures))
        total += len(pictures)
        chunks.extend(pictures)
    bank = torch.stack([(p.clamp(0, 1) * 255).round().to(torch.uint8).to(device) for p in chunks])
    return BackgroundBank(bank, np.array(first), np.array(count))


def load_backgrounds(
    folder: Path, each: int, device: torch.device, seed: int, cache: Path | None
) -> BackgroundBank:
    """Return the result of :func:`build_backgrounds`, cached as a file in the folder ``cache``."""
    if cache is None:
        return build_backgrounds(folder, each, device, seed)
    kept = cache / f"backgrounds-{each}-{seed}.safetensors"
    if not kept.exists():
        bank = build_backgrounds(folder, each, device, seed)
        cache.mkdir(parents=True, exist_ok=True)
        tensors = {
            "pictures": bank.pictures.cpu(),
            "first": torch.from_numpy(bank.first),
            "count": torch.from_numpy(bank.count),
        }
        save_file(tensors, kept.with_suffix(".partial"))
        kept.with_suffix(".partial").replace(kept)
        return bank
    tensors = load_file(kept)
    first, count = tensors["first"].numpy(), tensors["count"].numpy()
    return BackgroundBank(tensors["pictures"].to(device), first, count)


def _pictures(
    folder: Path | None, name: str, each: int, generator: torch.Generator, device: torch.device
) -> list[Tensor]:
    if name.startswith("plain "):
        return []
    if name in MAKERS:
        return [MAKERS[name](generator) for _ in range(each)]
    if folder is None:
        return [MAKERS["marble"](generator) for _ in range(each)]
    if name in TEXTURE_TINTS:
        picture = read_picture(folder / "textures" / f"{name}.webp")
        return [_texture(picture, name, generator) for _ in range(each)]
    views = []
    for panorama in PANORAMAS[name]:
        picture = read_picture(folder / "panoramas" / f"{panorama}.webp").to(device)
        share = 2 * each // len(PANORAMAS[name])
        views += [defocus(look_into(picture, generator, device), generator) for _ in range(share)]
    return views


def defocus(picture: Tensor, generator: torch.Generator) -> Tensor:
    """Blur a backdrop (3, H, W), as behind an object that was photographed from nearby."""
    sigma = uniform(generator, 1.5, 3.0)
    reach = math.ceil(3 * sigma)
    line = torch.arange(-reach, reach + 1, device=picture.device, dtype=torch.float32)
    weights = torch.exp(-line.square() / (2 * sigma**2))
    weights = (weights / weights.sum()).expand(3, 1, 1, -1)
    wide = F.pad(picture[None], (reach, reach, reach, reach), mode="reflect")
    level = F.conv2d(wide, weights, groups=3)
    return F.conv2d(level, weights.transpose(2, 3), groups=3)[0]


def read_picture(path: Path) -> Tensor:
    """Return the picture of a file, (3, H, W) float in [0, 1]."""
    array = np.asarray(Image.open(path).convert("RGB"), np.float32) / 255
    return torch.from_numpy(array).permute(2, 0, 1).contiguous()


def _texture(picture: Tensor, name: str, generator: torch.Generator) -> Tensor:
    """Return a random square of a grey texture (3, H, W), tinted and out of focus."""
    side = int(uniform(generator, 0.5, 1.0) * picture.shape[-1])
    y = int(uniform(generator, 0, picture.shape[-2] - side + 1))
    x = int(uniform(generator, 0, picture.shape[-1] - side + 1))
    square = picture[None, :, y : y + side, x : x + side]
    square = F.interpolate(square, (SIDE, SIDE), mode="bilinear", antialias=True)[0]
    low, high = TEXTURE_TINTS[name]
    mix = torch.rand(3, 1, 1, generator=generator)
    tint = torch.tensor(low).view(3, 1, 1) * mix + torch.tensor(high).view(3, 1, 1) * (1 - mix)
    return defocus(square * tint * uniform(generator, 0.85, 1.25), generator)


def look_into(panorama: Tensor, generator: torch.Generator, device: torch.device) -> Tensor:
    """Return a perspective view of an equirectangular panorama (3, H, 2H), (3, SIDE, SIDE).

    Direction, pitch (−24° to 8°) and angle of view are random.
    """
    half = math.tan(math.radians(uniform(generator, 62, 96)) / 2)
    yaw = uniform(generator, -math.pi, math.pi)
    pitch = math.radians(uniform(generator, -24, 8))
    line = torch.linspace(-half, half, SIDE, device=device)
    y, x = torch.meshgrid(line, line, indexing="ij")
    up = -y * math.cos(pitch) + math.sin(pitch)
    forward = math.cos(pitch) + y * math.sin(pitch)
    longitude = torch.atan2(x, forward) + yaw
    latitude = torch.atan2(up, torch.hypot(x, forward))
    u = (longitude / math.pi + 1) % 2 - 1
    # Three copies side by side, sampled in the middle one, avoid a visible seam.
    wide = torch.cat([panorama, panorama, panorama], -1)
    grid = torch.stack([u / 3, -latitude / (math.pi / 2)], -1)
    view = F.grid_sample(
        wide[None], grid[None], mode="bicubic", padding_mode="border", align_corners=False
    )[0]
    return view.clamp(0, 1) * uniform(generator, 0.85, 1.15)
