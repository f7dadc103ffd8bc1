"""Every piece of work of an edit with the GPU's memory capped, beside the same without a cap.

    python benchmarks/gpu_memory.py [--cap 7.0] [--preset infinity_2b] [--budget 1M]

The transformer rests in RAM, as with `memory: low`, and the cap is torch's own limit for a process.
Prints a table of seconds and peak GiB. The models have random weights at full size. A row that runs
out of memory says so.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch
from gpu_models import random_source, random_tokenizer, random_transformer, schedule_of
from torch import Tensor, nn

from editinfinity.editing.blend import MaskBlend
from editinfinity.editing.sampler import SamplingSettings, sample
from editinfinity.inversion.gradient_checkpointing import least_training_bytes, prepare
from editinfinity.inversion.lora import add_lora
from editinfinity.inversion.training import InversionLoss, Source, train
from editinfinity.models.placement import on_device, rest_in_ram
from editinfinity.models.scale_cache import least_sampling_bytes
from editinfinity.models.transformer import Infinity
from editinfinity.presets import PRESETS, Preset, preset
from editinfinity.settings.groups import LoraSettings, TrainingSettings

CARD, GIB = torch.device("cuda"), 2**30


@dataclass
class Measured:
    """Seconds (median), peaks in GiB, and what the work returned; or why there is none."""

    seconds: float = 0.0
    allocated: float = 0.0
    reserved: float = 0.0
    result: Any = None
    fault: str = ""

    def __str__(self) -> str:
        if self.fault:
            return self.fault
        return f"{self.seconds:.3f} s, {self.allocated:.2f} GiB ({self.reserved:.2f} reserved)"


def measure(work: Callable[[], Callable[[], Any]], runs: int) -> Measured:
    """Prepare a piece of work, then time it; the first run only warms up."""
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    try:
        run, times, result = work(), [], None
        for _ in range(runs):
            torch.cuda.synchronize()
            began = time.perf_counter()
            result = run()
            torch.cuda.synchronize()
            times.append(time.perf_counter() - began)
    except Exception as error:
        return Measured(fault=f"{type(error).__name__}: {str(error)[:150]}")
    return Measured(
        statistics.median(times[1:] or times),
        torch.cuda.max_memory_allocated() / GIB,
        torch.cuda.max_memory_reserved() / GIB,
        result,
    )


def as_new(model: Infinity) -> Infinity:
    """Return the model without the adapter of an earlier piece of work."""
    for block in model.blocks:
        for name in ("fc1", "fc2"):
            layer = getattr(block.ffn, name)
            setattr(block.ffn, name, getattr(layer, "base_layer", layer))
    vars(model).pop("peft_config", None)
    return model


def edit(model: Infinity, chosen: Preset, source: Source) -> Callable[[], Callable[[], Tensor]]:
    """Draw an edit under a mask with a soft prompt and an adapter; returns the code."""
    scales, rows = source.schedule, 2

    def start() -> Callable[[], Tensor]:
        dtype = model.blocks[0].ffn_dtype
        placed = on_device(model, CARD, least_sampling_bytes(model.config, scales, rows, dtype))
        torch.manual_seed(0)
        adapted = add_lora(as_new(placed), LoraSettings()).to(CARD).eval().requires_grad_(False)
        generator = torch.Generator(CARD).manual_seed(2)
        grid, bits = scales.tokenizer_grid, chosen.tokenizer.bits
        codes = [
            torch.randn(1, bits, *grid, device=CARD, generator=generator) * 0.1
            for _ in scales.scales
        ]
        blend = MaskBlend(codes, torch.rand(grid, device=CARD, generator=generator))
        text = source.text.append(torch.zeros(20, source.text.features.shape[-1], device=CARD))

        def run() -> Tensor:
            assert adapted is not None
            seed = torch.Generator().manual_seed(1)
            return sample(placed, text, scales, SamplingSettings(), seed, blend).code.cpu()

        return run

    return start


def training(
    model: Infinity, source: Source, batch: int, lora: bool, checkpointing: str
) -> Callable[[], Callable[[], float]]:
    """Run iterations of a training; returns the loss."""
    tokens = batch * source.schedule.tokens

    def start() -> Callable[[], float]:
        placed = on_device(model, CARD, least_training_bytes(model, tokens))
        placed.train().set_drop_path(0.1)
        torch.manual_seed(0)
        width = source.text.features.shape[-1]
        vectors = nn.Parameter(torch.zeros(20, width, device=CARD), requires_grad=not lora)
        learned = Source(source.features, source.text, source.schedule, vectors)
        as_new(placed)
        adapted: nn.Module = add_lora(placed, LoraSettings()).to(CARD).train() if lora else placed
        parameters = [p for p in adapted.parameters() if p.requires_grad] if lora else [vectors]
        prepare(placed, tokens, checkpointing)
        loss = InversionLoss(adapted, placed, learned, TrainingSettings(), batch, 2e-7 * lora)
        values: list[float] = []

        def run() -> float:
            train(
                parameters, loss, TrainingSettings(), 4.7e-5, range(1, 3), torch.manual_seed, None,
                lambda _, value: values.append(value),
            )  # fmt: skip
            return values[-1]

        return run

    return start


def tokenizer_work(chosen: Preset, source: Source, encode: bool) -> Callable[[], Callable]:
    """Encode or decode a picture."""

    def start() -> Callable[[], Tensor]:
        tokenizer, scales = random_tokenizer(chosen, CARD), source.schedule
        generator = torch.Generator(CARD).manual_seed(3)
        pixels = torch.rand(1, 3, *scales.image_size, device=CARD, generator=generator)

        @torch.inference_mode()
        def run() -> Tensor:
            if encode:
                return tokenizer.encode(pixels).cpu()
            return tokenizer.decode(source.features).cpu()

        return run

    return start


def text_encoder() -> Callable[[], Tensor]:
    """Encode forty tokens with flan-t5-xl's encoder, fp16."""
    from transformers import T5Config, T5EncoderModel

    config = T5Config(
        d_model=2048, d_kv=64, d_ff=5120, num_layers=24, num_heads=32, vocab_size=32128,
        feed_forward_proj="gated-gelu",
    )  # fmt: skip
    torch.manual_seed(4)
    torch.set_default_dtype(torch.float16)
    try:
        with CARD:
            encoder = T5EncoderModel(config).eval()
    finally:
        torch.set_default_dtype(torch.float32)
    tokens = torch.arange(1, 41, device=CARD)[None]

    @torch.inference_mode()
    def run() -> Tensor:
        return encoder(tokens).last_hidden_state.cpu()

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--preset", default="infinity_2b", choices=sorted(PRESETS))
    parser.add_argument("--budget", default="1M")
    parser.add_argument("--cap", type=float, default=7.0, help="GiB")
    parser.add_argument("--runs", type=int, default=4)
    parser.add_argument("--rows", nargs="+", help="words of the rows to measure; all if left out")
    options = parser.parse_args()
    chosen, runs = preset(options.preset), options.runs
    total = torch.cuda.get_device_properties(CARD).total_memory
    print(
        f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {options.preset}, "
        f"{options.budget}, {total / GIB:.0f} GiB",
        flush=True,
    )
    scales = schedule_of(chosen, options.budget)
    source = random_source(chosen, scales, CARD)
    on_card = random_transformer(chosen, CARD)
    began = time.perf_counter()
    resting = random_transformer(chosen, CARD).to("cpu")
    copied = time.perf_counter()
    resting = rest_in_ram(resting)
    pinned = sum(p.is_pinned() for p in resting.parameters() if p.nbytes >= 2**20)
    print(
        f"to RAM {copied - began:.1f} s, pinned {pinned} matrices in "
        f"{time.perf_counter() - copied:.1f} s",
        flush=True,
    )
    torch.cuda.empty_cache()

    def work(model: Infinity, fast: bool) -> dict[str, tuple[Callable[[], Callable], int]]:
        all_or = "auto" if not fast else "all"
        return {
            "edit under a mask": (edit(model, chosen, source), runs),
            "two LoRA iterations, batch 1": (training(model, source, 1, True, all_or), runs),
            "two LoRA iterations, batch 2": (training(model, source, 2, True, all_or), runs),
            "two embedding iterations, batch 1": (training(model, source, 1, False, all_or), runs),
            "tokenizer: encode": (tokenizer_work(chosen, source, True), runs),
            "tokenizer: decode": (tokenizer_work(chosen, source, False), runs),
            "text encoder": (text_encoder, runs),
            "weights to the GPU": (
                lambda: lambda: on_device(model, CARD, GIB) and None, 3
            ),
        }  # fmt: skip

    results: dict[str, list[Measured]] = {}
    models = [resting, on_card]
    del on_card, resting
    while models:
        model, fast = models.pop(), bool(models)
        if not fast:
            gc.collect()
            torch.cuda.empty_cache()
            torch.cuda.set_per_process_memory_fraction(options.cap * GIB / total)
        for name, (start, count) in work(model, fast).items():
            if options.rows and not any(word in name for word in options.rows):
                continue
            found = measure(start, count)
            results.setdefault(name, []).append(found)
            print(f"{'free' if fast else 'capped':6} {name:34} {found}", flush=True)
        del model, start
    print(f"\n| work | s | peak GiB | s, capped at {options.cap} | peak GiB | same result |")
    print("|---|--:|--:|--:|--:|---|")
    for name, (free, capped) in results.items():
        if capped.fault or free.fault:
            print(f"| {name} | {free} | | {capped} | | |")
            continue
        same = ""
        if isinstance(free.result, Tensor):
            same = str(torch.equal(free.result, capped.result))
        elif isinstance(free.result, float):
            same = f"loss {free.result:.5f} / {capped.result:.5f}"
        print(
            f"| {name} | {free.seconds:.3f} | {free.allocated:.1f} | {capped.seconds:.3f} | "
            f"{capped.allocated:.1f} ({capped.reserved:.2f} reserved) | {same} |"
        )


if __name__ == "__main__":
    main()
