"""Made scenes: pairs of pictures before and after an edit, with masks and captions.

A scene has an edited object, an optional companion, and a backdrop. Its contents are drawn on the
CPU from (seed, step) alone; the rendering is batched on the device. An object × backdrop pair
that is held out never occurs in training scenes; every held-out scene contains such a pair.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from training.backgrounds import BackgroundBank, build_backgrounds, load_backgrounds
from training.captions import Placed, caption
from training.masks import loosen
from training.sprites import SpriteBank, build_bank, load_bank, paint, synthetic_pictures
from training.textures import SIDE as BACKGROUND_SIDE
from training.vocabulary import (
    BACKDROPS,
    COLOUR_NAMES,
    COLOURS,
    Thing,
    held_out_table,
    read_objects,
)

SIDE = 256
KINDS = ("replace", "recolour", "add", "remove")
KIND_SHARES = (0.36, 0.2, 0.24, 0.2)
COMPANION_SHARE = 0.35
ASIDE_SHARE = 0.35
"""Share of objects without a companion that are on the left or the right."""
NATURAL = -1
"""Colour index of an object with its natural colour."""


@dataclass(frozen=True)
class Plan:
    """Contents of a batch of scenes; every array has one row per scene.

    Attributes:
        kind: index into ``KINDS``.
        backdrop: index into ``BACKDROPS``.
        things: (B, 3) object indices: edited one before, edited one after, companion.
        colours: (B, 3) colour indices or ``NATURAL``, of the same objects.
        shown: (B, 3) bool: whether each of these objects is in the scene.
        x, y: (B, 2) centre x and bottom y of the edited object and of the companion, in [0, 1].
        size: (B, 3) side of each object's square, as a fraction of the picture's side.
        angle, gain: (B, 3) rotation in radians, brightness.
        rest: (B, 24) random numbers in [0, 1) for backdrop, light, shadow and mask.
        captions: captions of each scene before and after the edit.
    """

    kind: np.ndarray
    backdrop: np.ndarray
    things: np.ndarray
    colours: np.ndarray
    shown: np.ndarray
    x: np.ndarray
    y: np.ndarray
    size: np.ndarray
    angle: np.ndarray
    gain: np.ndarray
    rest: np.ndarray
    captions: list[tuple[str, str]]


@dataclass(frozen=True)
class Scenes:
    """A batch of scenes.

    Attributes:
        source, target: (B, 3, side, side) in [−1, 1].
        mask: (B, side, side) bool, True = may change; source and target are equal outside.
        source_object, target_object: (B, side, side) bool, the edited object itself.
        plan: contents of the scenes.
    """

    source: Tensor
    target: Tensor
    mask: Tensor
    source_object: Tensor
    target_object: Tensor
    plan: Plan

    @property
    def source_captions(self) -> list[str]:
        """Captions of the pictures before the edits, one per scene."""
        return [before for before, _ in self.plan.captions]

    @property
    def target_captions(self) -> list[str]:
        """Captions of the pictures after the edits, one per scene."""
        return [after for _, after in self.plan.captions]


class SceneMaker:
    """Draws scenes from a bank of cut-outs and a bank of backgrounds."""

    def __init__(
        self, sprites: SpriteBank, backgrounds: BackgroundBank, things: tuple[Thing, ...]
    ) -> None:
        self.sprites = sprites
        self.backgrounds = backgrounds
        self.things = things
        self.device = sprites.pictures.device
        self.held_out = held_out_table(things)
        self.recolourable = np.array([thing.recolourable for thing in things])
        self.natural = np.array(
            [COLOUR_NAMES.index(t.colour) if t.colour else NATURAL for t in things]
        )
        weights = np.array([backdrop.weight for backdrop in BACKDROPS])
        self.backdrop_shares = weights / weights.sum()

    def batch(
        self, seed: int, step: int, size: int, held_out: bool = False,
        kinds: np.ndarray | None = None, side: int = SIDE,
    ) -> Scenes:  # fmt: skip
        """Return the scenes of one step, which depend only on the arguments.

        Args:
            kinds: (size,) indices into ``KINDS``; drawn when None.
            side: side of the pictures, in pixels.
        """
        rng = np.random.default_rng([seed, step, int(held_out)])
        return self.draw(self.plan(rng, size, held_out, kinds), side)

    def plan(
        self, rng: np.random.Generator, size: int, held_out: bool,
        kinds: np.ndarray | None = None,
    ) -> Plan:  # fmt: skip
        """Draw the contents of ``size`` scenes at random."""
        drawn = rng.choice(len(KINDS), size, p=KIND_SHARES)
        kind = drawn if kinds is None else kinds
        backdrop = rng.choice(len(BACKDROPS), size, p=self.backdrop_shares)
        things = self._choose_things(rng, kind, backdrop, held_out)
        companion = rng.random(size) < COMPANION_SHARE
        shown = np.stack([kind != 2, kind != 3, companion], 1)
        colours = self._choose_colours(rng, kind, things)
        x, y, extent = self._place(rng, companion)
        # The object after an edit has the position and about the size of the one before.
        after = np.where(kind == 1, 1.0, rng.uniform(0.92, 1.08, size)) * extent[:, 0]
        sizes = np.stack([extent[:, 0], after, extent[:, 1]], 1)
        angle = 0.04 * rng.standard_normal((size, 3))
        gain = rng.uniform(0.92, 1.06, (size, 3))
        same = kind == 1  # recoloured objects change only their colour
        for array in (angle, gain):
            array[same, 1] = array[same, 0]
        rest = rng.random((size, 24))
        plan = Plan(kind, backdrop, things, colours, shown, x, y, sizes, angle, gain, rest, [])
        plan.captions.extend(self._describe(plan, rng))
        return plan

    def _choose_things(
        self, rng: np.random.Generator, kind: np.ndarray, backdrop: np.ndarray, held_out: bool
    ) -> np.ndarray:
        """Return (B, 3) indices of different objects, respecting the held-out pairs."""
        hidden = self.held_out[:, backdrop].T
        order = rng.random(hidden.shape)
        allowed = np.where(hidden, -1.0, order)
        edited_score = np.where(hidden, order, -1.0) if held_out else allowed
        recolour = (kind == 1)[:, None] & ~self.recolourable[None]
        edited_score = np.where(recolour, edited_score - 2, edited_score)
        edited = edited_score.argmax(1)
        rows = np.arange(len(kind))
        others = np.where(hidden, -1.0, rng.random(hidden.shape))
        others[rows, edited] = -2
        best = np.argsort(-others, 1)[:, :2]
        # The held-out object is the one after the edit, or the one before if it is removed.
        before = np.where(np.isin(kind, (1, 3)), edited, best[:, 0])
        after = np.where(kind == 3, best[:, 0], edited)
        return np.stack([before, after, best[:, 1]], 1)

    def _choose_colours(
        self, rng: np.random.Generator, kind: np.ndarray, things: np.ndarray
    ) -> np.ndarray:
        size = len(kind)
        painted = rng.random((size, 3)) < 0.5
        colours = rng.integers(0, len(COLOURS), (size, 3))
        painted[:, 1] |= kind == 1
        # A recoloured object needs another colour than before.
        had = np.where(painted[:, 0], colours[:, 0], self.natural[things[:, 0]])
        shift = rng.integers(1, len(COLOURS), size)
        colours[:, 1] = np.where(kind == 1, (had + shift) % len(COLOURS), colours[:, 1])
        natural = ~painted | ~self.recolourable[things] | (colours == self.natural[things])
        return np.where(natural, NATURAL, colours)

    def _place(
        self, rng: np.random.Generator, companion: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return centre x, bottom y and size of edited object and companion, (B, 2) each.

        Positions follow from the caption: a single object is in the middle unless a side is
        named; two objects are left and right in the order of their names. The model is never given
        the mask of a blended edit, so it could only guess what the words leave open.
        """
        size = len(companion)
        aside = (rng.random(size) < ASIDE_SHARE) & ~companion
        side = np.where(rng.random(size) < 0.5, -1.0, 1.0)
        alone = np.where(aside, rng.uniform(0.42, 0.5, size), rng.uniform(0.48, 0.66, size))
        beside = rng.uniform(0.38, 0.46, (size, 2))
        extent = np.where(companion[:, None], beside, np.stack([alone, alone], 1))
        offset = np.where(companion, 0.24, np.where(aside, 0.22, 0.0))
        x = 0.5 + side[:, None] * offset[:, None] * np.array([1.0, -1.0])
        x = x + rng.uniform(-0.025, 0.025, (size, 2))
        # Two objects have about the same bottom.
        floor = rng.uniform(0.8, 0.92, (size, 1)) + rng.uniform(-0.015, 0.015, (size, 2))
        return x, floor, extent

    def _describe(self, plan: Plan, rng: np.random.Generator) -> list[tuple[str, str]]:
        captions = []
        for row in range(len(plan.kind)):
            backdrop = BACKDROPS[plan.backdrop[row]]
            placed = [self.placed(plan, row, part) for part in range(3)]
            shown = plan.shown[row]
            before = [placed[i] for i in (0, 2) if shown[i]]
            after = [placed[i] for i in (1, 2) if shown[i]]
            captions.append((caption(before, backdrop, rng), caption(after, backdrop, rng)))
        return captions

    def placed(self, plan: Plan, row: int, part: int) -> Placed:
        """Return one of the three objects of a scene, as captions describe it."""
        colour = plan.colours[row, part]
        return Placed(
            self.things[plan.things[row, part]],
            None if colour == NATURAL else COLOUR_NAMES[colour],
            float(plan.x[row, part // 2]),
            float(plan.size[row, part]),
        )

    def draw(self, plan: Plan, side: int = SIDE) -> Scenes:
        """Render planned scenes at any side (256 in training)."""
        rest = self._tensor(plan.rest)
        backdrop = self._backdrop(plan, rest, side)
        layers = [self._object(plan, part, rest, side) for part in range(3)]
        source = self._compose(backdrop, [layers[2], layers[0]], rest)
        target = self._compose(backdrop, [layers[2], layers[1]], rest)
        objects = [layer[0][:, 3] > 0.4 for layer in layers[:2]]
        core = objects[0] | objects[1] | ((source - target).abs().amax(1) > 0.03)
        style = torch.bucketize(
            rest[:, 20].contiguous(), torch.tensor([0.25, 0.5, 0.65, 0.85], device=self.device)
        )
        mask = loosen(core, style)
        # Discard faint shadows outside the mask, so that both pictures are equal there.
        target = torch.where(mask[:, None], target, source)
        return Scenes(source * 2 - 1, target * 2 - 1, mask, objects[0], objects[1], plan)

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, np.float32)).to(self.device)

    def _backdrop(self, plan: Plan, rest: Tensor, side: int) -> Tensor:
        """Return the backdrops, (B, 3, side, side) in [0, 1]."""
        colours = np.array([b.colour or (0, 0, 0) for b in BACKDROPS], np.float32) / 255
        plain = self._plain(self._tensor(colours[plan.backdrop]), rest, side)
        count = self.backgrounds.count[plan.backdrop]
        index = self.backgrounds.first[plan.backdrop] + (plan.rest[:, 6] * count).astype(int)
        pictures = self.backgrounds.pictures
        chosen = torch.from_numpy(np.where(count > 0, index, 0)).to(self.device)
        offset = (
            (rest[:, 7:9] * (BACKGROUND_SIDE - SIDE + 1)).long().clamp(max=BACKGROUND_SIDE - SIDE)
        )
        line = torch.arange(SIDE, device=self.device)
        columns = torch.where(rest[:, 9:10] < 0.5, line, SIDE - 1 - line) + offset[:, 1:2]
        rows = line + offset[:, 0:1]
        channel = torch.arange(3, device=self.device).view(1, 3, 1, 1)
        cut = pictures[
            chosen.view(-1, 1, 1, 1), channel, rows[:, None, :, None], columns[:, None, None]
        ]
        view = cut.float() / 255
        if side != SIDE:
            view = F.interpolate(view, (side, side), mode="bicubic").clamp(0, 1)
        has_picture = torch.from_numpy(count > 0).to(self.device).view(-1, 1, 1, 1)
        light = 0.85 + 0.3 * rest[:, 10].view(-1, 1, 1, 1)
        tint = 0.96 + 0.08 * rest[:, 11:14].view(-1, 3, 1, 1)
        return (torch.where(has_picture, view, plain) * light * tint).clamp(0, 1)

    def _plain(self, colour: Tensor, rest: Tensor, side: int) -> Tensor:
        """Return plain colours with random variation, often with a soft gradient."""
        jitter = (rest[:, 0:3] - 0.5) * 0.12
        base = (colour + jitter).view(-1, 3, 1, 1)
        line = torch.linspace(-1, 1, side, device=self.device)
        angle = (rest[:, 3] * 6.2832).view(-1, 1, 1)
        slope = line.view(1, -1, 1) * angle.sin() + line.view(1, 1, -1) * angle.cos()
        strength = (rest[:, 4] * 0.16 * (rest[:, 5] < 0.6)).view(-1, 1, 1)
        return (base * (1 + strength * slope)[:, None]).clamp(0, 1)

    def _object(self, plan: Plan, part: int, rest: Tensor, side: int) -> tuple[Tensor, Tensor]:
        """Return one object of every scene, premultiplied RGBA, and its shadow (1 channel)."""
        index = torch.from_numpy(plan.things[:, part]).to(self.device)
        place = part // 2
        x, floor = self._tensor(plan.x[:, place]), self._tensor(plan.y[:, place])
        size, angle = self._tensor(plan.size[:, part]), self._tensor(plan.angle[:, part])
        bottom = self.sprites.bottoms.to(self.device).float()[index]
        y = floor - size / 2 * bottom
        level = (size * side < 125).long()
        sampled = _sample(self.sprites.pictures[level, index], x, y, size, size, angle, side)
        colours = np.array([*COLOURS.values(), (0, 0, 0)], np.float32) / 255
        paints = self._tensor(colours[plan.colours[:, part]])
        paints = (paints + (rest[:, 14:17] - 0.5) * 0.07).clamp(0, 1)
        painted = torch.from_numpy(plan.colours[:, part] != NATURAL).to(self.device)
        layer = paint(sampled, paints, painted, self.sprites.shade[index].float())
        shown = self._tensor(plan.shown[:, part]).view(-1, 1, 1, 1)
        gain = self._tensor(plan.gain[:, part]).view(-1, 1, 1, 1)
        alpha = layer[:, 3:].clamp(0, 1)
        layer = torch.cat([(layer[:, :3] * gain).clamp(min=0).minimum(alpha), alpha], 1) * shown
        return layer, self._shadow(index, x, floor, size, rest, side) * shown

    def _shadow(
        self, index: Tensor, x: Tensor, floor: Tensor, size: Tensor, rest: Tensor, side: int
    ) -> Tensor:
        """Return the shadow on the floor: the object's flattened outline, lit from above."""
        zero = torch.zeros_like(x)
        lean = (rest[:, 18] - 0.5) * 0.1
        drawn = _sample(
            self.sprites.shadows[index], x + lean, floor - 0.035 * size, size * 1.08,
            0.24 * size, zero, side,
        )  # fmt: skip
        return drawn * (0.3 + 0.25 * rest[:, 21]).view(-1, 1, 1, 1)

    def _compose(
        self, backdrop: Tensor, layers: list[tuple[Tensor, Tensor]], rest: Tensor
    ) -> Tensor:
        """Composite all shadows, then the objects, over the backdrop; then apply the contrast."""
        picture = backdrop
        for _, shadow in layers:
            picture = picture * (1 - shadow)
        for layer, _ in layers:
            picture = layer[:, :3] + picture * (1 - layer[:, 3:])
        contrast = (0.92 + 0.16 * rest[:, 22]).view(-1, 1, 1, 1)
        return ((picture - 0.5) * contrast + 0.5).clamp(0, 1)


def _sample(
    pictures: Tensor, x: Tensor, y: Tensor, width: Tensor, height: Tensor, angle: Tensor,
    side: int,
) -> Tensor:  # fmt: skip
    """Place square pictures (B, C, s, s) at (x, y), scaled and rotated, in (B, C, side, side)."""
    cosine, sine = angle.cos(), angle.sin()
    middle_x, middle_y = 2 * x - 1, 2 * y - 1
    # Rows map the scene's [−1, 1] coordinates to the sprite's.
    across = torch.stack([cosine, sine, -(middle_x * cosine + middle_y * sine)], -1)
    down = torch.stack([-sine, cosine, middle_x * sine - middle_y * cosine], -1)
    matrix = torch.stack([across / width[:, None], down / height[:, None]], 1)
    grid = F.affine_grid(matrix, [len(x), 1, side, side], align_corners=False)
    return F.grid_sample(pictures, grid, align_corners=False)


def load_maker(
    folder: Path, device: torch.device, each: int = 64, seed: int = 0, cache: Path | None = None
) -> SceneMaker:
    """Return a scene maker that uses the assets in ``folder`` (made by ``training.assets``).

    Args:
        each: number of pictures per backdrop.
        cache: folder in which the backdrops are cached between runs.
    """
    things = read_objects()
    sprites = load_bank(folder / "sprites", things).to(device)
    return SceneMaker(sprites, load_backgrounds(folder, each, device, seed, cache), things)


def synthetic_maker(device: torch.device, each: int = 1) -> SceneMaker:
    """Return a scene maker for tests that needs no assets; its objects are plain polygons."""
    things = read_objects()
    sprites = build_bank(synthetic_pictures(things), things).to(device)
    return SceneMaker(sprites, build_backgrounds(None, each, device), things)
