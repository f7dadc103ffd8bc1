"""Train the bundled model's tokenizer (preset ``bundled``) on made scenes and photographs.

    python -m training.train_tokenizer --seconds 420 --compile --export build/weights

Loss: L1 + 0.4 LPIPS (AlexNet) + 0.25 commitment, straight through the quantiser of all scales;
AdamW 6e-4, cosine over time, averaged weights. A quarter of each batch is photographs, textures
and views into panoramas.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from editinfinity.models import bsq
from editinfinity.models.tokenizer import Tokenizer
from editinfinity.presets import preset
from editinfinity.scales import schedule
from training.backgrounds import read_picture
from training.loop import Recipe, add_options, compiled, set_up, train
from training.lpips import Lpips
from training.scenes import SIDE, SceneMaker, load_maker

RECIPE = Recipe(
    learning_rate=6e-4, warm_up=200, betas=(0.9, 0.99), weight_decay=0.01, clip=1.0, decay=0.999
)
BATCH = 64
PHOTOGRAPH_SHARE = 0.16
BACKDROP_SHARE = 0.1
LPIPS_WEIGHT, COMMITMENT_WEIGHT = 0.4, 0.25
CHECK_SEED = 10_001


@dataclass(frozen=True)
class Photographs:
    """Photographs of any size, (3, H, W) in [0, 1] each."""

    pictures: list[Tensor]

    @classmethod
    def read(cls, folder: Path, device: torch.device) -> Photographs:
        """All pictures of a folder."""
        return cls([read_picture(path).to(device) for path in sorted(folder.glob("*.webp"))])

    def crops(self, count: int, generator: torch.Generator) -> Tensor:
        """Random squares at random scales, mirrored half of the time: (count, 3, SIDE, SIDE)."""
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
        """The largest central square of each, (N, 3, SIDE, SIDE) in [−1, 1]."""
        squares = []
        for picture in self.pictures:
            side = min(picture.shape[1:])
            y, x = (picture.shape[1] - side) // 2, (picture.shape[2] - side) // 2
            square = picture[None, :, y : y + side, x : x + side]
            squares.append(F.interpolate(square, (SIDE, SIDE), mode="bicubic", antialias=True)[0])
        return torch.stack(squares).clamp(0, 1) * 2 - 1


@dataclass(frozen=True)
class Pictures:
    """What the tokenizer learns from: scenes, photographs, bare backdrops."""

    maker: SceneMaker
    photographs: Photographs

    def batch(self, seed: int, step: int, size: int) -> Tensor:
        """(size, 3, SIDE, SIDE) in [−1, 1]."""
        photographs = max(1, round(size * PHOTOGRAPH_SHARE))
        backdrops = round(size * BACKDROP_SHARE)
        made = size - photographs - backdrops
        scenes = self.maker.batch(seed, step, -(-made // 2))
        pairs = torch.stack([scenes.source, scenes.target], 1).flatten(0, 1)[:made]
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        crops = self.photographs.crops(photographs, generator)
        bank = self.maker.backgrounds.pictures
        chosen = torch.randint(len(bank), (backdrops,), generator=generator).to(bank.device)
        y, x = torch.randint(bank.shape[-1] - SIDE + 1, (2,), generator=generator).tolist()
        bare = bank[chosen][:, :, y : y + SIDE, x : x + SIDE].float() / 127.5 - 1
        return torch.cat([pairs, crops, bare])


def psnr(first: Tensor, second: Tensor) -> Tensor:
    """(B,) decibels of pictures in [−1, 1]."""
    error = ((first - second) / 2).square().mean((1, 2, 3))
    return -10 * error.clamp(min=1e-10).log10()


@torch.no_grad()
def reconstruct(model: Tokenizer, pictures: Tensor, scales: tuple[tuple[int, int], ...]) -> Tensor:
    """Encode, quantise and decode in slices, fp32."""
    totals = (bsq.quantize(model.encode(part), scales).total for part in pictures.split(32))
    return torch.cat([model.decode(total) for total in totals])


def main() -> None:
    """Command line."""
    started = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser, Path("build/tokenizer"))
    options = parser.parse_args()
    device = set_up(options)
    batch = options.batch or BATCH
    config = preset("bundled")
    scales = schedule(1.0, config.pixel_budget).tokenizer_scales
    model = Tokenizer(config.tokenizer).to(device)
    if device.type == "cuda":
        model = model.to(memory_format=torch.channels_last)
    encoder, decoder = (compiled(part, options.compile) for part in (model.encoder, model.decoder))
    distance = Lpips(options.carry / "lpips.safetensors").to(device)
    maker = load_maker(options.carry, device, options.backgrounds)
    pictures = Pictures(maker, Photographs.read(options.carry / "photographs", device))

    def losses(step: int) -> dict[str, Tensor]:
        wanted = pictures.batch(options.seed, step, batch)
        if device.type == "cuda":
            wanted = wanted.contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            raw = encoder(wanted).float()
            with torch.autocast(device.type, enabled=False):
                code = bsq.quantize(raw.detach(), scales).total
            drawn = decoder(raw + (code - raw).detach()).float()
            perceptual = distance(drawn, wanted).mean()
        # The mean over channels: summed, it outweighs the picture and costs 2 dB early on.
        commitment = (raw - code).square().mean()
        absolute = (drawn - wanted).abs().mean()
        loss = absolute + LPIPS_WEIGHT * perceptual + COMMITMENT_WEIGHT * commitment
        with torch.no_grad():
            quality = psnr(drawn.clamp(-1, 1), wanted).mean()
        return {
            "loss": loss, "l1": absolute.detach(), "lpips": perceptual.detach(),
            "commitment": commitment.detach(), "psnr": quality,
        }  # fmt: skip

    def check(average: nn.Module) -> Mapping[str, float]:
        assert isinstance(average, Tokenizer)
        held_out = Photographs.read(options.carry / "photographs_held_out", device)
        scenes = maker.batch(CHECK_SEED, 0, options.checks, held_out=True)
        rows: dict[str, float] = {}
        generator = torch.Generator().manual_seed(CHECK_SEED)
        for name, shown in {
            "held-out composites": scenes.target,
            "held-out photographs, whole": held_out.whole(),
            "held-out photographs, crops": held_out.crops(8, generator),
            "training photographs, whole": pictures.photographs.whole(),
        }.items():
            drawn = reconstruct(average, shown, scales)
            rows[f"{name}: PSNR"] = float(psnr(drawn, shown).mean())
            with torch.no_grad():
                rows[f"{name}: LPIPS"] = float(distance(drawn, shown).mean())
        return rows

    train(model, "tokenizer", losses, check, RECIPE, options, started)


if __name__ == "__main__":
    main()
