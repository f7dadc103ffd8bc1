"""A pool of encoded scenes on the device.

Encoding both pictures of every scene at every step would take longer than the transformer's own
work. The pool keeps raw features and texts of the latest scenes; every step encodes a few new ones,
which replace the oldest, and draws its batch from all: a scene is seen a handful of times, each
time with other noise, and as an edit in either direction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from editinfinity.models.tokenizer import Tokenizer
from training.captions import add_suffix
from training.forcing import LEARNED_ROWS
from training.masks import smoothing_kernel
from training.scenes import SceneMaker, Scenes
from training.text import PrunedEncoder

TEXT_TOKENS = 44
"""Longest caption kept, suffix included; longer ones are cut."""

TEXT_ROWS = TEXT_TOKENS + LEARNED_ROWS


@dataclass(frozen=True)
class Encoded:
    """Encoded scenes; index 0 of the second dimension is before the edit, 1 after.

    Attributes:
        raw: (N, 2, d, H, W) raw tokenizer features.
        kernel: (N, H, W) smoothing kernel G.
        states: (N, 2, TEXT_ROWS, C) token states, zeros after the text.
        lengths: (N, 2) real tokens.
    """

    raw: Tensor
    kernel: Tensor
    states: Tensor
    lengths: Tensor

    def __getitem__(self, index: Tensor) -> Encoded:
        return Encoded(*(getattr(self, name)[index] for name in self.__dataclass_fields__))


class SceneEncoder:
    """Scenes → :class:`Encoded`, with the frozen tokenizer and text encoder."""

    def __init__(self, maker: SceneMaker, tokenizer: Tokenizer, text: PrunedEncoder) -> None:
        self.maker = maker
        self.tokenizer = tokenizer
        self.text = text

    @torch.no_grad()
    def __call__(self, scenes: Scenes, seed: int) -> Encoded:
        """``seed`` decides which captions carry the method's suffix."""
        pictures = torch.stack([scenes.source, scenes.target], 1).flatten(0, 1)
        device = pictures.device
        if device.type == "cuda":
            pictures = pictures.contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.float16, enabled=device.type == "cuda"):
            parts = [self.tokenizer.encode(part).half() for part in pictures.split(128)]
        raw = torch.cat(parts).unflatten(0, (-1, 2))
        kernel = smoothing_kernel(scenes.mask, raw.shape[-1]).half()
        captions = [text for pair in scenes.plan.captions for text in pair]
        states, mask = self.text(add_suffix(captions, np.random.default_rng(seed)))
        padded = states.new_zeros(len(states), TEXT_ROWS, states.shape[-1])
        width = min(TEXT_TOKENS, states.shape[1])
        padded[:, :width] = states[:, :width] * mask[:, :width, None]
        lengths = mask.sum(1).clamp(max=TEXT_TOKENS)
        return Encoded(
            raw, kernel, padded.half().unflatten(0, (-1, 2)), lengths.unflatten(0, (-1, 2))
        )

    def batch(self, seed: int, step: int, size: int, held_out: bool = False) -> Encoded:
        """The encoded scenes of one step."""
        return self(self.maker.batch(seed, step, size, held_out), seed * 1_000_003 + step)


class Pool:
    """A ring of encoded scenes."""

    def __init__(self, encode: SceneEncoder, capacity: int, seed: int) -> None:
        self.encode = encode
        self.capacity = capacity
        self.seed = seed
        self.kept: Encoded | None = None
        self.filled = 0
        self.next = 0

    def refill(self, step: int, size: int) -> None:
        """Add ``size`` new scenes of this step, dropping the oldest when full."""
        fresh = self.encode.batch(self.seed, step, size)
        if self.kept is None:
            self.kept = Encoded(
                *(
                    getattr(fresh, name).new_zeros(self.capacity, *getattr(fresh, name).shape[1:])
                    for name in fresh.__dataclass_fields__
                )
            )
        where = (
            torch.arange(self.next, self.next + size, device=fresh.kernel.device) % self.capacity
        )
        for name in fresh.__dataclass_fields__:
            getattr(self.kept, name)[where] = getattr(fresh, name)
        self.next = (self.next + size) % self.capacity
        self.filled = min(self.capacity, self.filled + size)

    def draw(self, size: int, generator: torch.Generator) -> Encoded:
        """A random batch; half of the scenes are turned round (what was after is before)."""
        assert self.kept is not None
        device = self.kept.kernel.device
        index = torch.randint(self.filled, (size,), generator=generator).to(device)
        return turned(self.kept[index], torch.rand(size, generator=generator).to(device) < 0.5)


def turned(scenes: Encoded, turn: Tensor) -> Encoded:
    """Swap before and after where ``turn`` (N,) is True."""
    rows = torch.arange(len(turn), device=turn.device)
    order = torch.stack([turn.long(), 1 - turn.long()], 1)
    pick = rows[:, None], order
    return Encoded(scenes.raw[pick], scenes.kernel, scenes.states[pick], scenes.lengths[pick])
