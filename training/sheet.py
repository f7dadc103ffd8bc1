"""A contact sheet of held-out edits: source, mask, the tokenizer's own rendering, the edit.

    python -m training.sheet --weights build/weights --count 48 --output build/sheet.png

Edits are made as the workflow makes them without inversion: the prompt of the whole wanted scene,
guidance 4, temperature 0.5, blending under the mask's linear kernel.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from editinfinity.editing.blend import KernelBlend
from editinfinity.editing.sampler import SamplingSettings, sample
from editinfinity.models import bsq
from editinfinity.models.tokenizer import Tokenizer
from editinfinity.models.transformer import Infinity, TextFeatures
from editinfinity.presets import preset
from editinfinity.scales import ScaleSchedule, schedule
from training.captions import SUFFIX
from training.look import to_bytes
from training.masks import smoothing_kernel
from training.scenes import KINDS, Scenes, load_maker
from training.state import read_weights
from training.text import PrunedEncoder
from training.train_tokenizer import psnr
from training.train_transformer import load_tokenizer

log = logging.getLogger(__name__)

SHEET_SEED = 10_003


@dataclass(frozen=True)
class Edited:
    """Edits of a batch of scenes, pictures (B, 3, H, W) in [−1, 1].

    Attributes:
        rendering: the source through the tokenizer.
        edit: what was drawn.
        kept: (B,) PSNR of the edit against the rendering where the kernel keeps the source.
    """

    rendering: Tensor
    edit: Tensor
    kept: Tensor


@dataclass(frozen=True)
class Editor:
    """The three models, and how to sample."""

    tokenizer: Tokenizer
    transformer: Infinity
    text: PrunedEncoder
    plan: ScaleSchedule
    settings: SamplingSettings

    def __call__(self, scenes: Scenes, captions: list[str], seed: int = 42) -> Edited:
        """Edit the sources of some scenes by captions of the whole wanted pictures."""
        scales = self.plan.tokenizer_scales
        with torch.no_grad():
            source = bsq.quantize(self.tokenizer.encode(scenes.source), scales)
            codes = [bsq.enlarge(bsq.code_of(bits), scales[-1]) for bits in source.bits]
            kernel = smoothing_kernel(scenes.mask, scales[-1][0])[:, None]
            states, mask = self.text([caption + SUFFIX for caption in captions])
        drawn = sample(
            self.transformer, TextFeatures(states, mask), self.plan, self.settings,
            torch.Generator().manual_seed(seed), KernelBlend(codes, kernel),
        )  # fmt: skip
        with torch.no_grad():
            rendering = self.tokenizer.decode(source.total)
            edit = self.tokenizer.decode(drawn.code.clone())
        side = rendering.shape[-1] // kernel.shape[-1]
        keeps = kernel.repeat_interleave(side, 2).repeat_interleave(side, 3) > 0.999
        error = ((edit - rendering) / 2).square().mean(1, keepdim=True)
        kept = (error * keeps).sum((1, 2, 3)) / keeps.sum((1, 2, 3)).clamp(min=1)
        return Edited(rendering, edit, -10 * kept.clamp(min=1e-10).log10())


def load_editor(
    weights: Path, carry: Path, device: torch.device, settings: SamplingSettings
) -> Editor:
    """The bundled model from exported weights."""
    config = preset("bundled")
    transformer = Infinity(config.transformer)
    transformer.load_state_dict(read_weights(weights, "transformer"))
    return Editor(
        load_tokenizer(weights, device),
        transformer.to(device).eval().requires_grad_(False),
        PrunedEncoder(carry / "text", device),
        schedule(1.0, config.pixel_budget),
        settings,
    )


def draw_sheet(scenes: Scenes, edited: Edited, columns: int, cell: int = 144) -> Image.Image:
    """Four pictures an edit with its prompt below, ``columns`` edits a row."""
    count = len(scenes.source)
    rows = -(-count // columns)
    height = cell + 28
    sheet = Image.new("RGB", (columns * (4 * cell + 10), rows * height), "white")
    pen = ImageDraw.Draw(sheet)
    masks = ((~scenes.mask).cpu().numpy() * 255).astype(np.uint8)
    parts = [to_bytes(p) for p in (scenes.source, edited.rendering, edited.edit)]
    for index in range(count):
        x, y = index % columns * (4 * cell + 10), index // columns * height
        mask = Image.fromarray(masks[index]).convert("RGB")
        source, rendering, edit = (Image.fromarray(part[index]) for part in parts)
        for place, picture in enumerate((source, mask, rendering, edit)):
            sheet.paste(picture.resize((cell - 2, cell - 2)), (x + place * cell, y))
        words = f"{KINDS[scenes.plan.kind[index]]}: {scenes.target_captions[index]}"
        half = words.rfind(" ", 0, 90) if len(words) > 90 else len(words)
        pen.text((x + 2, y + cell), words[:half], fill="black")
        pen.text((x + 2, y + cell + 12), words[half:].strip(), fill="black")
    return sheet


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, default=Path("build/weights"))
    parser.add_argument("--carry", type=Path, default=Path(".carry"))
    parser.add_argument("--output", type=Path, default=Path("build/sheet.png"))
    parser.add_argument("--count", type=int, default=48)
    parser.add_argument("--columns", type=int, default=3)
    parser.add_argument("--cfg", type=float, default=4.0)
    parser.add_argument("--tau", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--backgrounds", type=int, default=16)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    device = torch.device(options.device)
    settings = SamplingSettings(cfg=options.cfg, tau=options.tau)
    editor = load_editor(options.weights, options.carry, device, settings)
    maker = load_maker(options.carry, device, options.backgrounds)
    scenes = maker.batch(SHEET_SEED, 0, options.count, held_out=True)
    edited = editor(scenes, scenes.target_captions, options.seed)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    draw_sheet(scenes, edited, options.columns).save(options.output)
    for index, (before, after) in enumerate(scenes.plan.captions):
        log.info("%2d %s -> %s", index, before, after)
    log.info("tokenizer on sources: %.2f dB", psnr(edited.rendering, scenes.source).mean())
    log.info("outside the mask, edit against rendering: %.2f dB", edited.kept.mean())


if __name__ == "__main__":
    main()
