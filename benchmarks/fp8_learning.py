"""What ``precision: fp8`` does to learning: the bundled model on a CPU, with the FP8 reference.

    nice python benchmarks/fp8_learning.py [--iterations 50] [--folder DIR] [--threads 1]
                                           [--ways fp32 fp8]

Trains LoRA on the three bundled examples, once in fp32 and once with the frozen matrices in FP8,
with the same noise. A third training, in fp32 with another seed, says how much two trainings differ
anyway. Then it draws every photograph anew from its source prompt, and edits it with three prompts,
each with two seeds. Prints a Markdown table of the means. Takes about a quarter of an hour on two
idle cores; the trainings stay in DIR, and a second run continues there. Needs no network.

- loss: mean of the last ten iterations.
- PSNR: of the picture drawn from the source prompt with LoRA, against the photograph, in dB.
- right: edits in which the judge sees what the prompt asks for with a probability above one half.
- belief: mean of that probability.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from statistics import mean

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np
import torch
from PIL import Image

from editinfinity import EditInfinityPipeline, Progress
from editinfinity.evaluation.scorer import EditedPicture
from editinfinity.evaluation.world.alignment import Alignment
from editinfinity.evaluation.world.judge import WEIGHTS, load_judge
from editinfinity.inverted import Inversion
from editinfinity.models.fp8 import Fp8Arithmetic, in_fp8
from editinfinity.settings.groups import TrainingSettings

SEEDS = (42, 43)

EDITS = {
    "example_1": (
        "a yellow car on a sandy beach", "a blue car in a forest", "a red bus in a forest",
    ),
    "example_2": (
        "a cupcake and a cup on a wooden table", "a pumpkin and a cup on a wooden table",
        "a teddy bear and an apple on a wooden table",
    ),
    "example_3": ("a green apple on marble", "a lemon on marble", "a red apple on a wooden table"),
}  # fmt: skip
"""Case → prompts of its edits, the first of which is its own."""

WAYS = {"fp32": (False, 42), "fp8": (True, 42), "fp32, another seed": (False, 7)}
"""Training → whether its frozen matrices are in FP8, and its seed."""


def learn(
    pipe: EditInfinityPipeline, case: str, way: str, iterations: int, folder: Path
) -> tuple[Inversion, list[float]]:
    """Return a case's inversion and its losses, from the folder if they are there."""
    done = folder / "losses.json"
    if not done.exists():
        in_eight_bits, seed = WAYS[way]
        products: AbstractContextManager[None] = nullcontext()
        if in_eight_bits:
            products = in_fp8(pipe.transformer, Fp8Arithmetic())
        losses: list[float] = []

        def collect(progress: Progress) -> None:
            if progress.loss is not None:
                losses.append(progress.loss)

        with products:
            inversion = pipe.invert(
                ROOT / "data" / case / "image" / "original_image.jpg", source_prompt(case),
                embedding_iterations=0, lora_iterations=iterations,
                training=TrainingSettings(train_seed=seed), on_progress=collect,
            )  # fmt: skip
        inversion.save(folder)
        done.write_text(json.dumps(losses))
    return Inversion.load(folder), json.loads(done.read_text())


def source_prompt(case: str) -> str:
    return (ROOT / "data" / case / "prompt" / "original_image_prompt.txt").read_text().strip()


def psnr(picture: Image.Image, source: np.ndarray) -> float:
    error = np.square(np.array(picture.convert("RGB"), dtype=float) - source).mean()
    return float(10 * np.log10(255**2 / error))


def beliefs(
    pipe: EditInfinityPipeline, judge: Alignment, case: str, inversion: Inversion, seed: int
) -> Iterator[float]:
    """Yield the judge's belief in each edit, whose place is found from the two prompts."""
    for prompt in EDITS[case]:
        edited = np.array(pipe.edit(inversion, prompt, mask="both", seed=seed).convert("RGB"))
        yield judge.measure(EditedPicture(edited, edited, None, prompt))["alignment"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--iterations", type=int, default=50)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp())
    pipe = EditInfinityPipeline.from_pretrained(device="cpu", threads=options.threads)
    judge = Alignment(load_judge(WEIGHTS, torch.device("cpu")), torch.device("cpu"))
    print("| LoRA trained in | loss | PSNR | right | belief |\n|---|--:|--:|--:|--:|")
    curves = {}
    for way in options.ways:
        losses, distances, seen = [], [], list[float]()
        for case in EDITS:
            place = folder / way.replace(", ", "_").replace(" ", "_") / case
            inversion, curves[way, case] = learn(pipe, case, way, options.iterations, place)
            losses.append(mean(curves[way, case][-10:]))
            source = np.array(inversion.photograph.pixels.convert("RGB"), dtype=float)
            for seed in SEEDS:
                again = pipe.edit(inversion, source_prompt(case), background="decoded", seed=seed)
                distances.append(psnr(again, source))
                seen += beliefs(pipe, judge, case, inversion, seed)
        right = sum(belief > 0.5 for belief in seen)
        print(
            f"| {way} | {mean(losses):.4f} | {mean(distances):.2f} | {right} of {len(seen)} "
            f"| {mean(seen):.3f} |",
            flush=True,
        )
    if not {"fp32", "fp8"} <= set(options.ways):
        return
    apart = [
        abs(a - b)
        for case in EDITS
        for a, b in zip(curves["fp32", case], curves["fp8", case], strict=True)
    ]
    print(f"losses of fp32 and fp8 are {mean(apart):.5f} apart, at most {max(apart):.5f}")


if __name__ == "__main__":
    main()
