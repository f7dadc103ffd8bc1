"""Edits of made scenes without inversion: a prompt of the whole edited scene, and a mask blend."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from editinfinity.editing.blend import MaskBlend
from editinfinity.editing.sampler import SamplingSettings, sample
from editinfinity.models import bsq
from editinfinity.models.tokenizer import Tokenizer
from editinfinity.models.transformer import Infinity, TextFeatures
from editinfinity.presets import preset
from editinfinity.scales import ScaleSchedule, schedule
from training.captions import SUFFIX
from training.masks import make_blend_mask
from training.scenes import Scenes
from training.state import read_weights
from training.text import PrunedEncoder
from training.train_transformer import load_tokenizer


@dataclass(frozen=True)
class Edited:
    """Edits of a batch of scenes, pictures (B, 3, H, W) in [−1, 1].

    Attributes:
        rendering: the source through the tokenizer.
        edit: the generated picture.
        kept: (B,) PSNR of the edit against the rendering where the blend mask keeps the source.
    """

    rendering: Tensor
    edit: Tensor
    kept: Tensor


@dataclass(frozen=True)
class Editor:
    """The three models, and the scale schedule."""

    tokenizer: Tokenizer
    transformer: Infinity
    text: PrunedEncoder
    plan: ScaleSchedule

    def __call__(
        self, scenes: Scenes, captions: list[str], settings: SamplingSettings, seed: int = 42
    ) -> Edited:
        """Edit the sources of scenes; ``captions`` describe the whole edited pictures."""
        scales = self.plan.tokenizer_scales
        with torch.no_grad():
            source = bsq.quantize(self.tokenizer.encode(scenes.source), scales)
            codes = [bsq.resized(bsq.code_of(bits), scales[-1]) for bits in source.bits]
            blend_mask = make_blend_mask(scenes.mask, scales[-1][0])[:, None]
            states, mask = self.text([caption + SUFFIX for caption in captions])
        drawn = sample(
            self.transformer, TextFeatures(states, mask), self.plan, settings,
            torch.Generator().manual_seed(seed), MaskBlend(codes, blend_mask),
        )  # fmt: skip
        with torch.no_grad():
            rendering = self.tokenizer.decode(source.total)
            edit = self.tokenizer.decode(drawn.code.clone())
        side = rendering.shape[-1] // blend_mask.shape[-1]
        keeps = blend_mask.repeat_interleave(side, 2).repeat_interleave(side, 3) > 0.999
        error = ((edit - rendering) / 2).square().mean(1, keepdim=True)
        kept = (error * keeps).sum((1, 2, 3)) / keeps.sum((1, 2, 3)).clamp(min=1)
        return Edited(rendering, edit, -10 * kept.clamp(min=1e-10).log10())


def load_editor(weights: Path, carry: Path, device: torch.device) -> Editor:
    """Load the bundled model from exported weights."""
    config = preset("bundled")
    transformer = Infinity(config.transformer)
    transformer.load_state_dict(read_weights(weights, "transformer"))
    return Editor(
        load_tokenizer(weights, device),
        transformer.to(device).eval().requires_grad_(False),
        PrunedEncoder(carry / "text", device),
        schedule(1.0, config.pixel_budget),
    )
