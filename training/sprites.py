"""Cut-out pictures of objects, and recolouring of their bodies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from training.vocabulary import COLOURS, Thing

SIDE = 192
"""Side of the sprites in memory, in pixels."""

MARGIN = 0.03
"""Empty rim around a sprite, as a fraction of its side."""


@dataclass(frozen=True)
class SpriteBank:
    """All objects at two resolutions, ready to be sampled.

    Attributes:
        pictures: (2, N, 5, S, S) float in [0, 1]: RGB premultiplied by alpha, alpha, and the body
            (what a new colour paints) premultiplied too; level 1 is blurred for small placements.
        shadows: (N, 1, 64, 64): blurred alpha.
        shade: (N,) mean brightness of each body, to paint relative to it.
        bottoms: (N,) distance from centre to bottom of the object, as a fraction of half the side.
    """

    pictures: Tensor
    shadows: Tensor
    shade: Tensor
    bottoms: Tensor

    def to(self, device: torch.device) -> SpriteBank:
        """Return the bank on another device."""
        return SpriteBank(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


def trim(picture: Image.Image, side: int) -> np.ndarray:
    """Crop an object to its bounds and fit it into a square, (side, side, 4) float in [0, 1]."""
    picture = picture.convert("RGBA")
    bounds = picture.getchannel("A").point(lambda a: 255 if a > 24 else 0).getbbox()
    picture = picture.crop(bounds)
    room = round(side * (1 - 2 * MARGIN))
    scale = room / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    # Pillow's "RGBa" is premultiplied, so that transparent black does not darken the rim.
    small = picture.convert("RGBa").resize(size, Image.Resampling.LANCZOS).convert("RGBA")
    canvas = Image.new("RGBA", (side, side))
    canvas.paste(small, ((side - size[0]) // 2, (side - size[1]) // 2))
    return np.asarray(canvas, np.float32) / 255


def body_of(rgba: np.ndarray, thing: Thing) -> np.ndarray:
    """Return each pixel's share of the object's body, (H, W) in [0, 1]; 0 if not recolourable.

    The body has about the object's natural hue or, for white, black and brown things, about
    its chroma; leaves, wheels, windows and ribbons do not belong to it.
    """
    if not thing.recolourable or thing.colour is None:
        return np.zeros(rgba.shape[:2], np.float32)
    rgb, alpha = rgba[..., :3], rgba[..., 3]
    opponent = np.stack(
        [rgb[..., 0] - rgb[..., 1], (rgb[..., 0] + rgb[..., 1]) / 2 - rgb[..., 2]], -1
    )
    chroma = np.linalg.norm(opponent, axis=-1)
    if thing.colour in ("white", "black"):
        body = np.clip((0.22 - chroma) / 0.08, 0, 1)
        if thing.colour == "white":
            body *= np.clip((rgb.max(-1) - 0.35) / 0.15, 0, 1)
        return (body * alpha).astype(np.float32)
    wanted = np.array(COLOURS[thing.colour], np.float32) / 255
    seed = np.array([wanted[0] - wanted[1], (wanted[0] + wanted[1]) / 2 - wanted[2]])
    direction = _main_direction(opponent, chroma, alpha, seed)
    cosine = (opponent @ direction) / np.maximum(chroma, 1e-3)
    body = np.clip((cosine - 0.62) / 0.22, 0, 1) * np.clip((chroma - 0.06) / 0.08, 0, 1)
    return (body * alpha).astype(np.float32)


def _main_direction(
    opponent: np.ndarray, chroma: np.ndarray, alpha: np.ndarray, seed: np.ndarray
) -> np.ndarray:
    """Return the most common hue direction (unit vector) near that of the natural colour."""
    direction = seed / np.linalg.norm(seed)
    for _ in range(4):
        cosine = (opponent @ direction) / np.maximum(chroma, 1e-3)
        weight = alpha * chroma * np.clip((cosine - 0.5) / 0.3, 0, 1)
        mean = (opponent * weight[..., None]).sum((0, 1))
        if np.linalg.norm(mean) > 1e-3:
            direction = mean / np.linalg.norm(mean)
    return direction


def build_bank(
    pictures: Sequence[Image.Image], things: Sequence[Thing], side: int = SIDE
) -> SpriteBank:
    """Return the bank of cut-outs, which are in the order of ``things``."""
    layers, shades, bottoms = [], [], []
    for picture, thing in zip(pictures, things, strict=True):
        rgba = trim(picture, side)
        body = body_of(rgba, thing)
        luminance = rgba[..., :3] @ np.array([0.299, 0.587, 0.114], np.float32)
        shades.append(float((luminance * body).sum() / max(body.sum(), 1e-3)) or 1.0)
        rows = np.flatnonzero((rgba[..., 3] > 0.3).any(1))
        bottoms.append((rows[-1] + 1) / side * 2 - 1)
        planes = [rgba[..., :3] * rgba[..., 3:], rgba[..., 3:], body[..., None]]
        layers.append(np.concatenate(planes, -1))
    fine = torch.from_numpy(np.stack(layers)).permute(0, 3, 1, 2).contiguous()
    coarse = F.interpolate(fine, scale_factor=0.6, mode="area")
    coarse = F.interpolate(coarse, size=(side, side), mode="bilinear", align_corners=False)
    shadow = F.interpolate(fine[:, 3:4], size=(64, 64), mode="area")
    for _ in range(3):
        shadow = F.avg_pool2d(shadow, 7, 1, 3)
    return SpriteBank(
        torch.stack([fine, coarse]), shadow, torch.tensor(shades), torch.tensor(bottoms)
    )


def load_bank(folder: Path, things: Sequence[Thing], side: int = SIDE) -> SpriteBank:
    """Return the bank of the cut-outs in ``folder`` (one WebP per object, named after it)."""
    names = [folder / f"{thing.name.replace(' ', '_')}.webp" for thing in things]
    return build_bank([Image.open(name) for name in names], things, side)


def synthetic_pictures(things: Sequence[Thing]) -> list[Image.Image]:
    """Return stand-ins for tests without cut-outs: polygons of the natural colours."""
    pictures = []
    grid = np.linspace(-1, 1, 96, dtype=np.float32)
    y, x = np.meshgrid(grid, grid, indexing="ij")
    for index, thing in enumerate(things):
        corners = 3 + index % 5
        angle = np.arctan2(y, x)
        radius = np.cos(np.pi / corners) / np.cos((angle % (2 * np.pi / corners)) - np.pi / corners)
        inside = np.hypot(x, y) < 0.9 * radius
        rgb = np.array(COLOURS.get(thing.colour or "", (150, 120, 90)), np.float32)
        shaded = rgb * (0.8 + 0.2 * (x - y)[..., None] / 2)
        rgba = np.concatenate([shaded, 255.0 * inside[..., None]], -1)
        pictures.append(Image.fromarray(rgba.clip(0, 255).astype(np.uint8), "RGBA"))
    return pictures


def paint(layer: Tensor, colour: Tensor, painted: Tensor, shade: Tensor) -> Tensor:
    """Recolour the bodies of sampled sprites (B, 5, H, W); return premultiplied RGBA (B, 4, H, W).

    Args:
        colour: (B, 3) in [0, 1], the new colour.
        painted: (B,) bool, which sprites to recolour.
        shade: (B,) mean brightness of the bodies.
    """
    rgb, alpha, body = layer[:, :3], layer[:, 3:4], layer[:, 4:5]
    weights = torch.tensor([0.299, 0.587, 0.114], device=layer.device).view(1, 3, 1, 1)
    luminance = (rgb * weights).sum(1, keepdim=True) / alpha.clamp(min=1e-3)
    relative = (luminance / shade.clamp(min=0.05).view(-1, 1, 1, 1)).clamp(0, 2.2)
    target = colour[:, :, None, None]
    # Shadows darken in proportion; highlights go towards white, so that dark paint still shines.
    darker = target * relative.clamp(max=1)
    lighter = (relative - 1).clamp(min=0) * 0.55
    fresh = darker + (1 - darker) * lighter.clamp(max=0.8)
    share = body * painted.view(-1, 1, 1, 1)
    share_of_pixel = (share / alpha.clamp(min=1e-3)).clamp(max=1)
    return torch.cat([rgb * (1 - share_of_pixel) + fresh * alpha * share_of_pixel, alpha], 1)
