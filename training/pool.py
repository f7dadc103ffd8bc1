"""A pool of encoded scenes on the device.

Encoding both pictures of every scene at every step would take longer than the transformer's update.
The pool keeps raw features and texts of the latest scenes. New scenes are added continually, and
batches are drawn from all. A scene is used about thirty times, each time with new noise, and as an
edit in either direction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from editinfinity.models.tokenizer import Tokenizer
from training.captions import add_suffix
from training.forcing import LEARNED_ROWS
from training.masks import make_blend_mask
from training.scenes import SceneMaker, Scenes
from training.text import PrunedEncoder

TEXT_TOKENS = 44
"""Maximum length of a caption with its suffix; longer ones are truncated."""

TEXT_ROWS = TEXT_TOKENS + LEARNED_ROWS


@dataclass(frozen=True)
class Encoded:
    """Encoded scenes; index 0 of the second dimension is before the edit, 1 after.

    Attributes:
        raw: (N, 2, d, H, W) raw tokenizer features.
        blend_mask: (N, H, W) blend mask G.
        states: (N, 2, TEXT_ROWS, C) token states, zeros after the text.
        lengths: (N, 2) number of real tokens.
    """

    raw: Tensor
    blend_mask: Tensor
    states: Tensor
    lengths: Tensor

    def __getitem__(self, index: Tensor) -> Encoded:
        return Encoded(*(getattr(self, name)[index] for name in self.__dataclass_fields__))

    def tensors(self) -> tuple[Tensor, ...]:
        """Return the tensors in the order of the fields."""
        return self.raw, self.blend_mask, self.states, self.lengths


class SceneEncoder:
    """Encodes scenes with the frozen tokenizer and text encoder."""

    def __init__(self, maker: SceneMaker, tokenizer: Tokenizer, text: PrunedEncoder) -> None:
        self.maker = maker
        self.tokenizer = tokenizer
        self.text = text

    @torch.no_grad()
    def __call__(self, scenes: Scenes, seed: int) -> Encoded:
        """Encode scenes; ``seed`` decides which captions get the method's suffix."""
        pictures = torch.stack([scenes.source, scenes.target], 1).flatten(0, 1)
        device = pictures.device
        if device.type == "cuda":
            pictures = pictures.contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.float16, enabled=device.type == "cuda"):
            parts = [self.tokenizer.encode(part).half() for part in pictures.split(128)]
        raw = torch.cat(parts).unflatten(0, (-1, 2))
        blend_mask = make_blend_mask(scenes.mask, raw.shape[-1]).half()
        captions = [text for pair in scenes.plan.captions for text in pair]
        states, mask = self.text(add_suffix(captions, np.random.default_rng(seed)))
        padded = states.new_zeros(len(states), TEXT_ROWS, states.shape[-1])
        width = min(TEXT_TOKENS, states.shape[1])
        padded[:, :width] = states[:, :width] * mask[:, :width, None]
        lengths = mask.sum(1).clamp(max=TEXT_TOKENS)
        return Encoded(
            raw, blend_mask, padded.half().unflatten(0, (-1, 2)), lengths.unflatten(0, (-1, 2))
        )

    def batch(self, seed: int, step: int, size: int, held_out: bool = False) -> Encoded:
        """Return the encoded scenes of one step, a function of (seed, step)."""
        return self(self.maker.batch(seed, step, size, held_out), seed * 1_000_003 + step)


class Pool:
    """A ring buffer of encoded scenes, in tensors whose addresses do not change."""

    def __init__(self, capacity: int, first: Encoded) -> None:
        self.capacity = capacity
        self.filled = 0
        self.next = 0
        self.kept = Encoded(
            *(
                getattr(first, name).new_zeros(capacity, *getattr(first, name).shape[1:])
                for name in first.__dataclass_fields__
            )
        )
        self.add(first)

    def add(self, fresh: Encoded) -> None:
        """Add scenes; when the pool is full, they replace the oldest."""
        size = len(fresh.blend_mask)
        where = torch.arange(self.next, self.next + size, device=fresh.blend_mask.device)
        for name in fresh.__dataclass_fields__:
            getattr(self.kept, name)[where % self.capacity] = getattr(fresh, name)
        self.next = (self.next + size) % self.capacity
        self.filled = min(self.capacity, self.filled + size)


def turned(scenes: Encoded, turn: Tensor) -> Encoded:
    """Swap before and after where ``turn`` (N,) is True."""
    rows = torch.arange(len(turn), device=turn.device)
    order = torch.stack([turn.long(), 1 - turn.long()], 1)
    pick = rows[:, None], order
    return Encoded(scenes.raw[pick], scenes.blend_mask, scenes.states[pick], scenes.lengths[pick])
