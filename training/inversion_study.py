"""Study of inversion on the bundled model: its effect, and suitable learning rates.

    python -m training.inversion_study sweep --count 3
    python -m training.inversion_study edits --count 8

``sweep`` inverts held-out scenes at several rates; ``edits`` recolours objects of held-out scenes
with and without inversion. Tables go to ``training/studies/``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from editinfinity.editing.blend import MaskBlend
from editinfinity.presets import preset
from training.bundled import Bundled, Inverted, Photograph
from training.look import tile, to_bytes
from training.masks import make_blend_mask
from training.scenes import KINDS, SceneMaker, load_maker
from training.tables import write_table
from training.train_tokenizer import psnr

SEED = 10_005
RECOLOUR = KINDS.index("recolour")
VISIBLE = 0.16
"""Minimum difference of a pixel from the bare backdrop, in [−1, 1], to belong to the object."""

VECTOR_RATES = (3e-4, 1e-3, 3e-3)
LORA_RATES = (2e-4, 5e-4, 1e-3, 2e-3)


@dataclass(frozen=True)
class Scene:
    """A held-out scene with one object to recolour; pictures are (1, 3, 256, 256)."""

    source: Tensor
    bare: Tensor
    mask: Tensor
    object: Tensor
    prompt: str
    wanted: str


def scenes(maker: SceneMaker, count: int) -> Iterator[Scene]:
    """Yield held-out scenes in which a single object is recoloured."""
    step = 0
    while count:
        rng = np.random.default_rng([SEED, step])
        plan = maker.plan(rng, 1, True, np.array([RECOLOUR]))
        step += 1
        if plan.shown[0, 2]:
            continue
        drawn = maker.draw(plan)
        bare = maker.draw(replace(plan, shown=np.zeros_like(plan.shown)))
        yield Scene(drawn.source, bare.source, drawn.mask, drawn.source_object, *plan.captions[0])
        count -= 1


def mean_of(losses: list[float], start: int, stop: int) -> float:
    """Return the mean loss of iterations ``start`` (inclusive) to ``stop`` (exclusive)."""
    return float(np.mean(losses[start:stop]))


def sweep(bundled: Bundled, maker: SceneMaker, count: int, path: Path) -> None:
    """Write losses and free reconstruction per learning rate, one line per scene and setting."""
    rows = []
    for number, scene in enumerate(scenes(maker, count)):
        photograph = bundled.encode(scene.source)
        base = {"scene": number, "vectors": 0.0, "lora": 0.0}
        rows.append(base | _measured(bundled, scene, photograph, None))
        for vectors, lora in product(VECTOR_RATES, LORA_RATES):
            if vectors != VECTOR_RATES[1] and lora != LORA_RATES[1]:
                continue  # one rate is varied at a time
            inverted = bundled.invert(photograph, scene.prompt, vectors, lora)
            found = _measured(bundled, scene, photograph, inverted)
            rows.append({"scene": number, "vectors": vectors, "lora": lora} | found)
            write_table(path, rows)


def _measured(
    bundled: Bundled, scene: Scene, photograph: Photograph, inverted: Inverted | None
) -> dict[str, float]:
    losses = inverted.losses if inverted else [float("nan")] * 60
    free = bundled.draw(scene.prompt, inverted)
    blend_mask = make_blend_mask(scene.mask, 16)[0]
    edited = bundled.draw(scene.wanted, inverted, MaskBlend(photograph.codes, blend_mask))
    found = {
        "loss, vectors 1-3": mean_of(losses, 0, 3), "loss, vectors 8-10": mean_of(losses, 7, 10),
        "loss, lora 1-5": mean_of(losses, 10, 15), "loss, lora 21-25": mean_of(losses, 30, 35),
        "loss, lora 46-50": mean_of(losses, 55, 60),
        "teacher-forced loss": bundled.loss(photograph, scene.prompt, inverted),
        "free reconstruction, dB": float(psnr(free, photograph.rendering)),
        "overlap": overlap(edited, scene),
        "luminance correlation": luminance_correlation(edited, scene),
    }  # fmt: skip
    print({k: round(v, 3) for k, v in found.items()}, flush=True)
    return found


def edits(bundled: Bundled, maker: SceneMaker, count: int, path: Path) -> None:
    """Recolour with and without inversion; write one line for each, and a contact sheet."""
    training = preset("bundled").training
    rows, cells = [], []
    for number, scene in enumerate(scenes(maker, count)):
        photograph = bundled.encode(scene.source)
        blend_mask = make_blend_mask(scene.mask, 16)[0]
        inverted = bundled.invert(
            photograph, scene.prompt, training.embedding_learning_rate,
            training.lora_learning_rate,
        )  # fmt: skip
        shown = [scene.source, photograph.rendering]
        for name, model in (("without", None), ("with", inverted)):
            free = bundled.draw(scene.prompt, model)
            edited = bundled.draw(scene.wanted, model, MaskBlend(photograph.codes, blend_mask))
            rows.append({
                "scene": number, "inversion": name, "prompt": scene.wanted,
                "teacher-forced loss": bundled.loss(photograph, scene.prompt, model),
                "free reconstruction, dB": float(psnr(free, photograph.rendering)),
                "overlap": overlap(edited, scene),
                "luminance correlation": luminance_correlation(edited, scene),
            })  # fmt: skip
            print(rows[-1], flush=True)
            shown += [free, edited]
        cells += [to_bytes(picture)[0] for picture in shown]
        write_table(path, rows)
        sheet = tile(cells, 6)
        sheet.resize((sheet.width // 2, sheet.height // 2), Image.Resampling.LANCZOS).save(
            path.with_suffix(".jpg"), quality=88
        )


def overlap(edited: Tensor, scene: Scene) -> float:
    """Return the IoU of the source's object and the pixels that differ from the bare backdrop."""
    seen = ((edited - scene.bare).abs().amax(1) > VISIBLE) & scene.mask
    return float((seen & scene.object).sum() / (seen | scene.object).sum())


def luminance_correlation(edited: Tensor, scene: Scene) -> float:
    """Return Pearson's correlation of luminance with the source's, over the source's object."""
    weights = torch.tensor([0.299, 0.587, 0.114], device=edited.device).view(1, 3, 1, 1)
    pair = [(p * weights).sum(1)[scene.object] for p in (edited, scene.source)]
    return float(torch.corrcoef(torch.stack(pair))[0, 1])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", choices=("sweep", "edits"))
    parser.add_argument("--carry", type=Path, default=Path(".carry"))
    parser.add_argument("--count", type=int, default=8)
    parser.add_argument("--output", type=Path, default=Path("training/studies"))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    device = torch.device(options.device)
    maker = load_maker(options.carry, device, 16, cache=Path("build"))
    run = {"sweep": sweep, "edits": edits}[options.study]
    run(Bundled.load(device), maker, options.count, options.output / f"{options.study}.tsv")


if __name__ == "__main__":
    main()
