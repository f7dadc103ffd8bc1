"""Procedural surfaces: wood, sand, snow, marble, patterns, lights, stars, tiles.

Each maker returns one picture (3, S, S) in [0, 1] from a ``torch.Generator`` on the CPU, so that
the same seed gives the same backgrounds on every machine.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

SIDE = 288
"""Side of a background picture; scenes cut 256 × 256 out of it."""

Maker = Callable[[torch.Generator], Tensor]


def uniform(generator: torch.Generator, low: float, high: float) -> float:
    """Return a random number from [low, high)."""
    return low + (high - low) * float(torch.rand((), generator=generator))


def _colour(hue: float, saturation: float, value: float) -> Tensor:
    return torch.tensor(colorsys.hsv_to_rgb(hue % 1, saturation, value)).view(3, 1, 1)


def noise(generator: torch.Generator, rows: int, columns: int, octaves: int = 1) -> Tensor:
    """Return smooth noise (S, S), mean 0, deviation about 1; octaves double the frequency."""
    total = torch.zeros(SIDE, SIDE)
    for octave in range(octaves):
        size = (min(SIDE, rows * 2**octave), min(SIDE, columns * 2**octave))
        cells = torch.randn(1, 1, *size, generator=generator)
        total += F.interpolate(cells, (SIDE, SIDE), mode="bicubic")[0, 0] / 2**octave
    return total


def _axes() -> tuple[Tensor, Tensor]:
    line = torch.linspace(0, 1, SIDE)
    return torch.meshgrid(line, line, indexing="ij")  # type: ignore[return-value]


def wood(generator: torch.Generator) -> Tensor:
    """Planks of varying brown with a grain along them."""
    y, _ = _axes()
    planks = int(uniform(generator, 2, 6))
    shift = torch.randn(planks + 1, generator=generator)
    which = (y * planks).long().clamp(max=planks)
    grain = 0.05 * noise(generator, 72, 3, 2) + 0.04 * noise(generator, 20, 2)
    base = _colour(uniform(generator, 0.05, 0.1), uniform(generator, 0.4, 0.7),
                   uniform(generator, 0.4, 0.8))  # fmt: skip
    seam = ((y * planks) % 1 < 0.03).float() * 0.35
    bright = (1 + grain + 0.06 * shift[which]) * (1 - seam)
    picture = base * bright
    return (picture.transpose(1, 2) if uniform(generator, 0, 1) < 0.3 else picture).clamp(0, 1)


def table(generator: torch.Generator) -> Tensor:
    """A wooden table top in perspective before a wall."""
    horizon = uniform(generator, 0.3, 0.6)
    surface = wood(generator)
    y, x = _axes()
    depth = ((y - horizon) / (1 - horizon)).clamp(min=1e-3)
    far = uniform(generator, 0.25, 0.6)
    scale = far + (1 - far) * depth
    grid = torch.stack([(x * 2 - 1) / scale * 0.9 * far, depth.pow(0.75) * 2 - 1], -1)
    top = F.grid_sample(surface[None], grid[None], padding_mode="reflection", align_corners=False)[
        0
    ]
    wall = _colour(
        uniform(generator, 0, 1), uniform(generator, 0, 0.45), uniform(generator, 0.5, 0.95)
    )
    wall = wall * (1 - 0.25 * uniform(generator, -1, 1) * (y - 0.3)) + 0.01 * noise(generator, 4, 4)
    edge = ((y - horizon) * SIDE / 2).clamp(0, 1)
    return (wall * (1 - edge) + top * (0.75 + 0.25 * depth) * edge).clamp(0, 1)


def sand(generator: torch.Generator) -> Tensor:
    """Fine grains over soft dunes."""
    base = _colour(uniform(generator, 0.09, 0.12), uniform(generator, 0.25, 0.45),
                   uniform(generator, 0.75, 0.92))  # fmt: skip
    bumps = 0.05 * noise(generator, 4, 3, 2) + 0.03 * noise(generator, 144, 144)
    return (base * (1 + bumps)).clamp(0, 1)


def snow(generator: torch.Generator) -> Tensor:
    """White with bluish hollows."""
    hollow = (0.05 * noise(generator, 4, 3, 3)).clamp(-0.2, 0.12)
    tint = _colour(0.6, uniform(generator, 0.02, 0.08), uniform(generator, 0.9, 0.97))
    return (tint * (1 + hollow) + 0.008 * noise(generator, 144, 144)).clamp(0, 1)


def marble(generator: torch.Generator) -> Tensor:
    """White or grey stone with dark veins."""
    turbulence = noise(generator, 3, 3, 5)
    veins = torch.exp(-(turbulence / uniform(generator, 0.08, 0.2)).square())
    base = _colour(
        uniform(generator, 0, 1), uniform(generator, 0, 0.06), uniform(generator, 0.8, 0.95)
    )
    return (base * (1 - 0.35 * veins + 0.03 * noise(generator, 5, 5, 2))).clamp(0, 1)


def _two_colours(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    hue = uniform(generator, 0, 1)
    first = _colour(hue, uniform(generator, 0.2, 0.7), uniform(generator, 0.5, 0.9))
    if uniform(generator, 0, 1) < 0.5:
        return first, _colour(hue, 0.05, uniform(generator, 0.85, 0.97))
    second_hue = hue + uniform(generator, 0.2, 0.8)
    return first, _colour(second_hue, uniform(generator, 0.2, 0.7), uniform(generator, 0.5, 0.9))


def _mix(pattern: Tensor, generator: torch.Generator) -> Tensor:
    first, second = _two_colours(generator)
    light = 1 + 0.04 * noise(generator, 2, 2)
    return ((first * pattern + second * (1 - pattern)) * light).clamp(0, 1)


def checkered(generator: torch.Generator) -> Tensor:
    """Squares of two colours."""
    y, x = _axes()
    count = uniform(generator, 4, 9)
    phase = uniform(generator, 0, 1)
    pattern = (((x * count + phase).floor() + (y * count + phase).floor()) % 2).float()
    return _mix(F.avg_pool2d(pattern[None], 3, 1, 1)[0], generator)


def striped(generator: torch.Generator) -> Tensor:
    """Stripes of two colours, upright, level or slanted."""
    y, x = _axes()
    angle = torch.tensor(uniform(generator, 0, 3.14159))
    if uniform(generator, 0, 1) < 0.6:
        angle = torch.tensor(0.0 if uniform(generator, 0, 1) < 0.7 else 1.5708)
    along = x * torch.cos(angle) + y * torch.sin(angle)
    wave = torch.sin(along * uniform(generator, 4, 10) * 6.2832)
    return _mix((wave * 8 + 0.5).clamp(0, 1), generator)


def lights(generator: torch.Generator) -> Tensor:
    """Out-of-focus lights in the dark."""
    y, x = _axes()
    picture = _colour(uniform(generator, 0.55, 0.8), 0.5, uniform(generator, 0.06, 0.2))
    picture = picture.expand(3, SIDE, SIDE).clone()
    for _ in range(int(uniform(generator, 12, 28))):
        cx, cy = uniform(generator, 0, 1), uniform(generator, 0, 1)
        radius = uniform(generator, 0.03, 0.11)
        disc = ((radius - torch.hypot(x - cx, y - cy)) * 60 + 0.5).clamp(0, 1)
        warm = _colour(uniform(generator, -0.08, 0.2), uniform(generator, 0.3, 0.8), 1.0)
        picture += disc * warm * uniform(generator, 0.2, 0.6)
    return picture.clamp(0, 1)


def starry(generator: torch.Generator) -> Tensor:
    """A dark blue sky with stars and faint clouds of light."""
    base = _colour(uniform(generator, 0.6, 0.74), uniform(generator, 0.5, 0.8),
                   uniform(generator, 0.08, 0.22))  # fmt: skip
    glow = (0.5 * noise(generator, 3, 3, 3)).clamp(0, 1.2) * uniform(generator, 0.3, 1)
    picture = base * (1 + glow)
    points = torch.rand(SIDE, SIDE, generator=generator)
    stars = (points > 0.9992).float()
    soft = F.avg_pool2d(stars[None], 3, 1, 1)[0] * 3 + stars * 0.6
    return (picture + soft).clamp(0, 1)


def tiles(generator: torch.Generator) -> Tensor:
    """Square tiles with light joints."""
    y, x = _axes()
    count = uniform(generator, 3, 7)
    joint = ((x * count) % 1 < 0.05) | ((y * count) % 1 < 0.05)
    shades = torch.randn(8, 8, generator=generator)
    shade = shades[(y * count).long() % 8, (x * count).long() % 8] * 0.05
    base = _colour(
        uniform(generator, 0, 1), uniform(generator, 0.05, 0.5), uniform(generator, 0.5, 0.9)
    )
    light = 1 + shade + 0.03 * noise(generator, 2, 2)
    return torch.where(joint, torch.full_like(base, 0.85), base * light).clamp(0, 1)


MAKERS: dict[str, Maker] = {
    "wood": wood, "table": table, "sand": sand, "snow": snow, "marble": marble,
    "checkered": checkered, "striped": striped, "lights": lights,
    "starry": starry, "tiles": tiles,
}  # fmt: skip
