"""Training of the judge, which classifies the object and colour in a region of a picture.

    python -m training.judge --seconds 60 --export editinfinity/weights/judge/judge.safetensors

It is trained only on true pictures of made scenes, not on those of tokenizer and transformer, whose
pictures it never sees. Held-out scenes (object × background pairs it never saw) show how far it can
be trusted.
"""

from __future__ import annotations

import argparse
import logging
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from editinfinity.evaluation.world.judge import SIDE, Judge, crop, load_judge
from training.scenes import NATURAL, SceneMaker, Scenes, load_maker

__all__ = ["SIDE", "Judge", "crop", "load_judge"]

log = logging.getLogger(__name__)

TRAINING_SIDE = 128
UNKNOWN = -100
"""Colour label of things with several colours or none; the loss ignores it."""

PEAK, WARM_UP, SCENES = 2e-3, 50, 96
CHECK_SEED = 10_004


def labels(scenes: Scenes, maker: SceneMaker, part: int) -> tuple[Tensor, Tensor]:
    """Return object and colour labels (B,) of the edit before (``part`` 0) or after (1) it."""
    plan, nothing = scenes.plan, len(maker.things)
    things = np.where(plan.shown[:, part], plan.things[:, part], nothing)
    colours = plan.colours[:, part]
    colours = np.where(colours == NATURAL, maker.natural[plan.things[:, part]], colours)
    colours = np.where((colours == NATURAL) | ~plan.shown[:, part], UNKNOWN, colours)
    device = scenes.mask.device
    return torch.from_numpy(things).to(device), torch.from_numpy(colours).to(device)


def _roughened(crops: Tensor) -> Tensor:
    """Randomly blur crops, add noise and change brightness, as in decoded pictures."""
    batch = len(crops)
    small = F.interpolate(crops, scale_factor=0.6, mode="bilinear", antialias=True)
    soft = F.interpolate(small, crops.shape[-2:], mode="bilinear")
    share = torch.rand(batch, 1, 1, 1, device=crops.device)
    mixed = crops + (soft - crops) * share
    noise = torch.randn_like(crops) * 0.04 * torch.rand(batch, 1, 1, 1, device=crops.device)
    gain = 1 + 0.1 * (torch.rand(batch, 1, 1, 1, device=crops.device) - 0.5)
    return mixed * gain + noise


def train(judge: Judge, maker: SceneMaker, seconds: float, seed: int) -> int:
    """Train for some seconds, and return the number of updates."""
    device = maker.device
    optimizer = torch.optim.AdamW(judge.parameters(), PEAK, weight_decay=0.02)
    start, step = time.monotonic(), 0
    while (spent := time.monotonic() - start) < seconds:
        warm = min(1.0, (step + 1) / WARM_UP)
        rate = PEAK * warm * 0.5 * (1 + np.cos(np.pi * spent / seconds))
        for group in optimizer.param_groups:
            group["lr"] = rate
        scenes = maker.batch(seed, step, SCENES, side=TRAINING_SIDE)
        torch.manual_seed(seed * 1_000_003 + step)
        losses = []
        for part, pictures in enumerate((scenes.source, scenes.target)):
            objects, colours = labels(scenes, maker, part)
            zoom = 0.9 + 0.35 * torch.rand(SCENES, device=device)
            shift = 0.1 * (torch.rand(SCENES, 2, device=device) - 0.5)
            seen = _roughened(crop(pictures, scenes.mask, zoom, shift))
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                guess, paint = judge(seen)
            losses.append(F.cross_entropy(guess.float(), objects, label_smoothing=0.05))
            losses.append(0.5 * F.cross_entropy(paint.float(), colours, ignore_index=UNKNOWN))
        loss = torch.stack(losses).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        step += 1
        if step % 100 == 0:
            log.info("judge: step %d, loss %.3f", step, loss)
    return step


def accuracy(judge: Judge, maker: SceneMaker, count: int) -> dict[str, float]:
    """Return shares of right classifications of held-out true pictures, before and after edits."""
    right: dict[str, list[Tensor]] = {"objects": [], "nothing": [], "colours": []}
    for step in range(-(-count // 64)):
        scenes = maker.batch(CHECK_SEED, step, 64, held_out=True)
        for part, pictures in enumerate((scenes.source, scenes.target)):
            objects, colours = labels(scenes, maker, part)
            guess, paint = judge.name(pictures, scenes.mask)
            empty = objects == judge.nothing
            right["objects"].append((guess == objects)[~empty])
            right["nothing"].append((guess == objects)[empty])
            right["colours"].append((paint == colours)[colours != UNKNOWN])
    return {name: float(torch.cat(parts).float().mean()) for name, parts in right.items()}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--carry", type=Path, default=Path(".carry"))
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--checks", type=int, default=512)
    parser.add_argument("--backgrounds", type=int, default=64)
    parser.add_argument("--export", type=Path, default=Path("build/weights/judge.safetensors"))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.manual_seed(options.seed)
    device = torch.device(options.device)
    maker = load_maker(options.carry, device, options.backgrounds, cache=Path("build"))
    judge = Judge(len(maker.things)).to(device)
    updates = train(judge, maker, options.seconds, options.seed)
    options.export.parent.mkdir(parents=True, exist_ok=True)
    state = {k: v.detach().cpu() for k, v in judge.state_dict().items() if v.is_floating_point()}
    state = {k: v.half().contiguous() for k, v in state.items()}
    save_file(state, options.export)
    found = accuracy(load_judge(options.export, device), maker, options.checks)
    log.info("judge after %d updates, held-out real renderings: %s", updates, found)


if __name__ == "__main__":
    main()
