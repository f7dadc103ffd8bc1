"""Train the bundled model's tokenizer (preset ``bundled``) on made scenes and photographs.

    python -m training.train_tokenizer --seconds 590 --compile --export build/weights

Loss: L1 + 0.6 LPIPS (AlexNet) + 0.25 commitment + 0.5 change outside an edit, straight through
the quantiser of all scales; AdamW, cosine over time, averaged weights. A third of each batch is
photographs, views of panoramas and bare backdrops. Half of the edited scenes are decoded from
codes that are blended as in editing; the target is the edited picture, with the kept region as
it was.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from editinfinity.models import bsq
from editinfinity.models.tokenizer import ResidualBlock, Tokenizer
from editinfinity.presets import preset
from editinfinity.scales import schedule
from training.backgrounds import look_into, read_picture
from training.captured import SideStream
from training.loop import Recipe, add_options, set_up, train
from training.lpips import Lpips, layer_distance
from training.masks import make_blend_mask
from training.scenes import SIDE, SceneMaker, load_maker
from training.state import Average
from training.textures import SIDE as BACKGROUND_SIDE
from training.vocabulary import SHARP_PANORAMAS

RECIPE = Recipe(
    learning_rate=5e-4, warm_up=300, betas=(0.9, 0.99), weight_decay=0.01, clip=1.0, decay=0.999
)
BATCH = 16
PAIRS_SHARE = 0.66
"""Share of pictures before and after an edit in a batch; the rest are photographs, views of
panoramas and bare backdrops in turn."""
LPIPS_WEIGHT, COMMITMENT_WEIGHT, CONSISTENCY_WEIGHT = 0.6, 0.25, 0.5
VIEWS = 48
CHECK_SEED = 10_001


@dataclass(frozen=True)
class Photographs:
    """Photographs of any size, (3, H, W) in [0, 1] each."""

    pictures: list[Tensor]

    @classmethod
    def read(cls, folder: Path, device: torch.device) -> Photographs:
        """Read all pictures of a folder."""
        return cls([read_picture(path).to(device) for path in sorted(folder.glob("*.webp"))])

    def crops(self, count: int, generator: torch.Generator) -> Tensor:
        """Return random squares at random scales, half of them mirrored, (count, 3, SIDE, SIDE)."""
        return torch.stack([self._crop(generator) for _ in range(count)]) * 2 - 1

    def _crop(self, generator: torch.Generator) -> Tensor:
        u = torch.rand(6, generator=generator).tolist()
        picture = self.pictures[int(u[0] * len(self.pictures))]
        height, width = picture.shape[1:]
        longest = min(height, width)
        side = int(180 + u[1] * max(0, longest - 180)) if u[5] < 0.7 else longest
        y, x = int(u[2] * (height - side + 1)), int(u[3] * (width - side + 1))
        square = picture[None, :, y : y + side, x : x + side]
        square = F.interpolate(square, (SIDE, SIDE), mode="bilinear", antialias=True)[0]
        return square.flip(-1) if u[4] < 0.5 else square

    def whole(self) -> Tensor:
        """Return the largest central square of each, (N, 3, SIDE, SIDE) in [−1, 1]."""
        squares = []
        for picture in self.pictures:
            side = min(picture.shape[1:])
            y, x = (picture.shape[1] - side) // 2, (picture.shape[2] - side) // 2
            square = picture[None, :, y : y + side, x : x + side]
            squares.append(F.interpolate(square, (SIDE, SIDE), mode="bicubic", antialias=True)[0])
        return torch.stack(squares).clamp(0, 1) * 2 - 1


@dataclass(frozen=True)
class Pictures:
    """Training pictures of the tokenizer.

    Attributes:
        views: (N, 3, S, S) uint8 views into panoramas, in focus; S at least ``SIDE``.
    """

    maker: SceneMaker
    photographs: Photographs
    views: Tensor

    @classmethod
    def load(cls, carry: Path, maker: SceneMaker, device: torch.device, each: int) -> Pictures:
        """Load everything from the folder of assets, with ``each`` views per panorama."""
        photographs = Photographs.read(carry / "photographs", device)
        generator = torch.Generator().manual_seed(0)
        views = []
        for name in SHARP_PANORAMAS:
            panorama = read_picture(carry / "panoramas" / f"{name}.webp").to(device)
            views += [look_into(panorama, generator, device) for _ in range(each)]
        stacked = (torch.stack(views).clamp(0, 1) * 255).round().to(torch.uint8)
        return cls(maker, photographs, stacked)

    def batch(self, seed: int, step: int, size: int) -> tuple[Tensor, Tensor]:
        """Return pictures (size, 3, SIDE, SIDE), pairs first, and the pairs' masks G (P, h, w)."""
        pairs = max(1, round(size * PAIRS_SHARE / 2))
        scenes = self.maker.batch(seed, step, pairs)
        pictures = [torch.stack([scenes.source, scenes.target], 1).flatten(0, 1)]
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        for index in range(size - 2 * pairs):
            kind = (index + step) % 3
            if kind == 0:
                pictures.append(self.photographs.crops(1, generator))
            else:
                bank = self.views if kind == 1 else self.maker.backgrounds.pictures
                pictures.append(_cut(bank, generator))
        return torch.cat(pictures), make_blend_mask(scenes.mask, SIDE // 16)


def _cut(bank: Tensor, generator: torch.Generator) -> Tensor:
    """Return a random crop of a random picture of a bank, (1, 3, SIDE, SIDE) in [−1, 1]."""
    index = int(torch.randint(len(bank), (), generator=generator))
    y, x = torch.randint(BACKGROUND_SIDE - SIDE + 1, (2,), generator=generator).tolist()
    return bank[index : index + 1, :, y : y + SIDE, x : x + SIDE].float() / 127.5 - 1


def psnr(first: Tensor, second: Tensor) -> Tensor:
    """Return the PSNR (B,), in dB, between pictures in [−1, 1]."""
    error = ((first - second) / 2).square().mean((1, 2, 3))
    return -10 * error.clamp(min=1e-10).log10()


@torch.no_grad()
def reconstruct(model: Tokenizer, pictures: Tensor, scales: tuple[tuple[int, int], ...]) -> Tensor:
    """Encode, quantise and decode pictures in slices, in fp32."""
    totals = (bsq.quantize(model.encode(part), scales).total for part in pictures.split(32))
    return torch.cat([model.decode(total) for total in totals])


def _run(block: ResidualBlock, x: Tensor) -> Tensor:
    return ResidualBlock.forward(block, x)


class TokenizerCourse:
    """Course of the tokenizer: its training pictures and losses."""

    def __init__(
        self, model: Tokenizer, pictures: Pictures, distance: Lpips,
        options: argparse.Namespace,
    ) -> None:  # fmt: skip
        self.model = model
        self.distance = distance
        self.pictures = pictures
        self.options = options
        self.device = next(model.parameters()).device
        self.on_gpu = self.device.type == "cuda"
        self.scales = schedule(1.0, preset("bundled").pixel_budget).tokenizer_scales
        size = options.batch or BATCH
        self.source = SideStream(lambda step: pictures.batch(options.seed, step, size), self.device)
        shown, blend_mask = self.source.take(0)
        layout = torch.channels_last if self.on_gpu else torch.contiguous_format
        self.shown, self.blend_mask = shown.contiguous(memory_format=layout), blend_mask
        if options.compile:
            self._compile()

    def _compile(self) -> None:
        """Compile the residual blocks and the perceptual distance, once per shape."""
        torch._dynamo.config.recompile_limit = 64
        run = torch.compile(_run, dynamic=False)
        for module in self.model.modules():
            if isinstance(module, ResidualBlock):
                module.forward = functools.partial(run, module)  # type: ignore[method-assign]
        self.distance.layer_distance = torch.compile(layer_distance, dynamic=False)

    def feed(self, step: int) -> None:
        shown, blend_mask = self.source.take(step)
        self.shown.copy_(shown)
        self.blend_mask.copy_(blend_mask)

    def prepare(self, step: int) -> None:
        self.source.start(step)

    def losses(self) -> dict[str, Tensor]:
        wanted = self.shown
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.on_gpu):
            raw = self.model.encoder(wanted).float()
            with torch.autocast(self.device.type, enabled=False):
                code = bsq.quantize(raw.detach(), self.scales).total
                latent = self._blend(raw + (code - raw).detach())
            drawn = self.model.decoder(latent).float()
            perceptual = self.distance(drawn, wanted).mean()
        # The mean over channels; the sum would outweigh the other losses and cost 2 dB early on.
        commitment = (raw - code).square().mean()
        absolute = (drawn - wanted).abs().mean()
        moved = self._moved(drawn)
        loss = (
            absolute + LPIPS_WEIGHT * perceptual + COMMITMENT_WEIGHT * commitment
            + CONSISTENCY_WEIGHT * moved
        )  # fmt: skip
        quality = psnr(drawn.detach().clamp(-1, 1), wanted)
        pairs = 2 * len(self.blend_mask)
        return {
            "loss": loss, "l1": absolute, "lpips": perceptual, "commitment": commitment,
            "moved": moved, "psnr": quality.mean(), "psnr of scenes": quality[:pairs].mean(),
        }  # fmt: skip

    def _blend(self, latent: Tensor) -> Tensor:
        """In every other pair, replace the kept region of the second code by that of the first."""
        pairs = latent[: 2 * len(self.blend_mask)].unflatten(0, (-1, 2))
        keep = self.blend_mask[:, None].clone()
        keep[1::2] = 0
        after = keep * pairs[:, 0] + (1 - keep) * pairs[:, 1]
        mixed = torch.stack([pairs[:, 0], after], 1).flatten(0, 1)
        return torch.cat([mixed, latent[len(mixed) :]])

    def _moved(self, drawn: Tensor) -> Tensor:
        """Return the mean change of blended pictures where the source is kept."""
        pairs = drawn[: 2 * len(self.blend_mask)].unflatten(0, (-1, 2))[::2]
        kept = (self.blend_mask[::2, None] > 0.999).float()
        kept = F.interpolate(kept, drawn.shape[-2:], mode="nearest")
        return ((pairs[:, 0] - pairs[:, 1]).abs() * kept).mean()

    def plain(self) -> dict[str, Tensor]:
        compiled = {m: m.__dict__.pop("forward") for m in self.model.modules()
                    if "forward" in m.__dict__}  # fmt: skip
        distance, self.distance.layer_distance = self.distance.layer_distance, layer_distance
        try:
            return self.losses()
        finally:
            for module, forward in compiled.items():
                module.forward = forward  # type: ignore[method-assign]
            self.distance.layer_distance = distance

    def check(self, average: nn.Module) -> Mapping[str, float]:
        assert isinstance(average, Tokenizer)
        options = self.options
        held_out = Photographs.read(options.carry / "photographs_held_out", self.device)
        scenes = self.pictures.maker.batch(CHECK_SEED, 0, options.checks, held_out=True)
        rows: dict[str, float] = {}
        for name, shown in {
            "held-out composites": scenes.target,
            "held-out photographs, whole": held_out.whole(),
            "training photographs, whole": self.pictures.photographs.whole(),
        }.items():
            drawn = reconstruct(average, shown, self.scales)
            rows[f"{name}: PSNR"] = float(psnr(drawn, shown).mean())
            with torch.no_grad():
                slices = zip(drawn.split(32), shown.split(32), strict=True)
                distances = torch.cat([self.distance(*pair) for pair in slices])
            rows[f"{name}: LPIPS"] = float(distances.mean())
        return rows


def main() -> None:
    """Command line."""
    started = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser, Path("build/tokenizer"))
    options = parser.parse_args()
    device = set_up(options)
    model = Tokenizer(preset("bundled").tokenizer).to(device)
    if device.type == "cuda":
        model = model.to(memory_format=torch.channels_last)
    average = Average(model, RECIPE.decay)
    maker = load_maker(options.carry, device, options.backgrounds, cache=Path("build"))
    pictures = Pictures.load(options.carry, maker, device, min(options.backgrounds, VIEWS))
    distance = Lpips(options.carry / "lpips.safetensors").to(device)
    course = TokenizerCourse(model, pictures, distance, options)
    train(model, average, "tokenizer", course, RECIPE, options, started)


if __name__ == "__main__":
    main()
