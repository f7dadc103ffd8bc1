"""Time of each method of drawing, and of finding the place, as a ratio to a plain drawing.

    python benchmarks/methods.py [--preset infinity_2b] [--budget 1M] [--device cuda] \
        [--repeat 5] [--rows REGEX] [--processor-time]

The model has random weights at its full size (``bundled`` has its own), so only times mean
anything. Each row is the median of some repetitions after a warm-up, in turns with a plain drawing,
so that a machine whose speed varies slows both. Decoding is left out. On a GPU, drawings are also
timed with recorded CUDA graphs, as the Python API and the worker replay them, and the last column
is the ratio to such a plain drawing. The memory is the most that PyTorch had allocated, weights
included. To compare two versions of the code, run this file of each on one machine:
``PYTHONPATH`` chooses the version. On a CPU that does other work too, measure processor time on one
core: ``OMP_NUM_THREADS=1 taskset -c 0 python benchmarks/methods.py --processor-time``.
"""

from __future__ import annotations

import argparse
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from gpu_models import random_transformer, schedule_of

from editinfinity.editing.prompt_region import cells_of_soft_map
from editinfinity.files.features import ImageFeatures, PromptFeatures
from editinfinity.files.geometry import Geometry
from editinfinity.files.transformer_weights import load_transformer
from editinfinity.method.attention import attention_map
from editinfinity.method.draw import draw
from editinfinity.method.prompt_map import prompt_maps
from editinfinity.models.scale_passes import CudaGraphRunner, ScalePasses
from editinfinity.presets import PRESETS, Preset, preset
from editinfinity.settings.groups import (
    GUIDANCES,
    GuidanceSettings,
    PreservationSettings,
    SamplingSettings,
)
from editinfinity.settings.guidance import with_defaults
from editinfinity.settings.setting import make_groups

WORDS = ["a", "red", "apple", "on", "a", "wooden", "table", "in", "the", "morning"]


def random_photograph(chosen: Preset, budget: str) -> ImageFeatures:
    """Return a photograph of random bits."""
    rng, scales = np.random.default_rng(0), schedule_of(chosen, budget)
    bits = [rng.random((*grid, chosen.tokenizer.bits)) < 0.5 for grid in scales.tokenizer_scales]
    size = scales.image_size
    raw = rng.standard_normal((chosen.tokenizer.bits, *scales.tokenizer_grid), dtype=np.float32)
    pixels = rng.integers(0, 255, (*size, 3), dtype=np.uint8)
    return ImageFeatures(chosen.name, scales, Geometry.fit(size, size), bits, raw, pixels)


def random_prompt(chosen: Preset, changed: str, seed: int) -> PromptFeatures:
    """Return a prompt of random features whose third word is ``changed``."""
    words = [*WORDS[:2], changed, *WORDS[3:]]
    starts = np.cumsum([0, *(len(word) + 1 for word in words)])
    offsets = [(int(s), int(s) + len(w)) for s, w in zip(starts, words, strict=False)]
    rng = np.random.default_rng(seed)
    width = chosen.text_encoder.width
    features = rng.standard_normal((len(words) + 1, width), dtype=np.float32)
    return PromptFeatures(chosen.name, " ".join(words), features, [*offsets, (0, 0)])


def seconds(work: Callable[[], object], device: torch.device, clock: Callable[[], float]) -> float:
    """Return the seconds that some work takes."""
    began = clock()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - began


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="infinity_2b", choices=sorted(PRESETS))
    parser.add_argument("--budget", default=None)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--rows", default="", help="regular expression: only rows that match")
    parser.add_argument("--processor-time", action="store_true", help="of all threads; CPU only")
    options = parser.parse_args()
    clock = time.process_time if options.processor_time else time.perf_counter
    device, chosen = torch.device(options.device), preset(options.preset)
    is_random = options.preset != "bundled"
    model = random_transformer(chosen, device) if is_random else load_transformer(chosen, device)
    photograph = random_photograph(chosen, options.budget or chosen.pixel_budget)
    source, target = (random_prompt(chosen, word, n) for n, word in enumerate(("apple", "pear")))

    def drawing(guidance: str, passes: Callable[..., ScalePasses]) -> Callable[[], object]:
        sampling, group, _ = make_groups(
            with_defaults({"guidance": guidance}), SamplingSettings, GuidanceSettings,
            PreservationSettings,
        )  # fmt: skip
        return lambda: draw(
            model, photograph, target, sampling, source_prompt=source, guidance=group, passes=passes
        )

    def finding(place: str, edited: PromptFeatures) -> Callable[[], object]:
        def find() -> None:
            maps = prompt_maps(model, photograph, source, edited)
            cells_of_soft_map(maps.of(place), photograph.pixels)

        return find

    plain = drawing("cfg", ScalePasses)
    reordered = random_prompt(chosen, "apple", 1)  # no word has changed: only bits are compared
    reordered = replace(reordered, prompt=f"{reordered.prompt},")
    find = finding("both", target)
    work = {
        "finding the place, words and bits": find,
        "finding the place, bits alone": finding("bits", reordered),
        "finding and a plain drawing": lambda: (find(), plain()),
        "attention to a word": lambda: attention_map(model, photograph, source, (2, 3)),
    }
    work |= {guidance: drawing(guidance, ScalePasses) for guidance in GUIDANCES}
    if device.type == "cuda":
        runners = {guidance: CudaGraphRunner() for guidance in GUIDANCES}
        replayed = {g: drawing(g, runner) for g, runner in runners.items()}
        work = {"cfg, replayed": replayed["cfg"]} | work
        work |= {f"{g}, replayed": task for g, task in replayed.items() if g != "cfg"}
        work["finding and a plain drawing, replayed"] = lambda: (find(), replayed["cfg"]())
    title = f"{options.preset}, {photograph.schedule.pixel_budget}"
    print(f"| {title} | seconds | × plain | × plain, replayed | GiB |")
    print("|---|--:|--:|--:|--:|")
    fastest = memory = 0.0  # unknown on a CPU
    for name, task in work.items():
        if not re.search(options.rows, name):
            continue
        for _ in range(3):
            task()
        plain()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            task()
            memory = torch.cuda.max_memory_allocated() / 2**30
        times, ratios = [], []
        for _ in range(options.repeat):
            reference = seconds(plain, device, clock)
            times.append(seconds(task, device, clock))
            ratios.append(times[-1] / reference)
        middle = statistics.median(times)
        fastest = middle if name == "cfg, replayed" else fastest
        print(
            f"| {name} | {middle:.3f} | {statistics.median(ratios):.2f} "
            f"({min(ratios):.2f}…{max(ratios):.2f}) | "
            f"{f'{middle / fastest:.2f}' if fastest else '–'} | "
            f"{f'{memory:.1f}' if memory else '–'} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
