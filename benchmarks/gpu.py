"""Speed and memory of every part on a GPU, with random weights at full size.

    python benchmarks/gpu.py [--preset infinity_2b] [--budgets 0.06M 0.25M 0.60M 1M]
                             [--parts train edit stages load] [--json FILE]

Prints a line a measurement as it goes, then a table with upstream's figures beside ours, and writes
JSON. Medians after warm-up; memory is PyTorch's peak. benchmarks/README.md has the results.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch
from gpu_models import (
    random_source,
    random_tokenizer,
    random_transformer,
    schedule_of,
    with_learned,
)
from torch import Tensor, nn

from editinfinity.compute import free_bytes
from editinfinity.editing.attention_map import AttentionCollector
from editinfinity.editing.blend import Editor, MaskBlend, ReplaySource, keep_generated
from editinfinity.editing.guidance import Unguided
from editinfinity.editing.sampler import SamplingSettings, sample
from editinfinity.inversion.gradient_checkpointing import blocks_to_checkpoint, prepare
from editinfinity.inversion.lora import add_lora
from editinfinity.inversion.recorded_iterations import choose_passes
from editinfinity.inversion.training import InversionLoss, Passes, Source, run_passes, train
from editinfinity.models.fused import flash_attention
from editinfinity.models.scale_passes import CudaGraphRunner, ScalePasses
from editinfinity.models.transformer import Infinity
from editinfinity.presets import PRESETS, Preset, preset
from editinfinity.scales import PIXEL_BUDGETS, ScaleSchedule
from editinfinity.settings.groups import LoraSettings, TrainingSettings

DEVICE = torch.device("cuda")
UPSTREAM = {
    "LoRA iteration, batch 1": 0.958,
    "embedding iteration, batch 1": 0.915,
    "edit under a blend mask": 4.5,
    "edit of the whole image": 1.00,
}
"""Seconds, measured on one H200 beside ours, Infinity-2B at 1M."""

LINEAR_PARAMETERS = {"infinity_2b": 1.88e9}
"""Of the blocks' linear layers, as the floor's arithmetic counts them."""


@dataclass
class Row:
    """One measurement; ``seconds`` is the median."""

    what: str
    budget: str
    seconds: float
    first: float
    peak_gib: float


class Bench:
    """Collects rows, printing them."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def note(self, what: str, budget: str, times: list[float], warm: int = 1) -> None:
        """Times of consecutive runs, the first ``warm`` of which only warm up."""
        rest = times[warm:] or times
        peak = torch.cuda.max_memory_allocated() / 2**30
        row = Row(what, budget, statistics.median(rest), times[0], round(peak, 2))
        self.rows.append(row)
        print(
            f"{budget:6} {what:42} {row.seconds:8.4f} s  (first {row.first:6.2f} s)"
            f"  {row.peak_gib:6.2f} GiB",
            flush=True,
        )
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()

    def run(self, what: str, budget: str, work: Callable[[], object], runs: int = 6) -> None:
        """Time ``work`` from start to the device's end."""
        times = []
        for _ in range(runs):
            torch.cuda.synchronize()
            began = time.perf_counter()
            work()
            torch.cuda.synchronize()
            times.append(time.perf_counter() - began)
        self.note(what, budget, times, warm=min(3, runs - 1))


def ceilings() -> tuple[float, float]:
    """(TFLOP/s of a large bf16 product, TB/s of a large copy)."""
    a = torch.randn(8192, 8192, device=DEVICE, dtype=torch.bfloat16)
    x = torch.randn(2**28, device=DEVICE)
    y = torch.empty_like(x)

    def seconds(work: Callable[[], object]) -> float:
        for _ in range(3):
            work()
        torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(10):
            work()
        torch.cuda.synchronize()
        return (time.perf_counter() - began) / 10

    return 2 * 8192**3 / seconds(lambda: a @ a) / 1e12, 8 * 2**28 / seconds(
        lambda: y.copy_(x)
    ) / 1e12


def training_floor(scales: ScaleSchedule, chosen: Preset, tflops: float) -> float | None:
    """Seconds that a training iteration's arithmetic takes at that rate, nothing recomputed."""
    if (parameters := LINEAR_PARAMETERS.get(chosen.name)) is None:
        return None
    tokens, seen, pairs = scales.tokens, 0, 0
    for length in scales.lengths:
        seen += length
        pairs += length * seen
    linear = 2 * parameters * tokens
    attention = pairs * 4 * chosen.transformer.width * chosen.transformer.depth
    return (2 * linear + 3.5 * attention) / tflops / 1e12


def iterations(
    bench: Bench,
    what: str,
    budget: str,
    parameters: list[nn.Parameter],
    loss: InversionLoss,
    runs: int = 9,
    passes: Passes = run_passes,
) -> float:
    """Time iterations as the stages run them; return the seconds of one."""
    stamps = [time.perf_counter()]
    train(
        parameters,
        loss,
        TrainingSettings(),
        4.7e-5,
        range(1, runs + 1),
        torch.manual_seed,
        None,
        lambda iteration, value: stamps.append(time.perf_counter()),
        passes,
    )
    times = [after - before for before, after in itertools.pairwise(stamps)]
    bench.note(what, budget, times[:-1], warm=3)  # the last is only waited for
    return bench.rows[-1].seconds


def faster_iterations(
    bench: Bench,
    what: str,
    budget: str,
    parameters: list[nn.Parameter],
    loss: InversionLoss,
    before: float,
) -> None:
    """Time iterations with the faster means that suit them, in ratios to ``before``."""
    model, tokens = loss.base, loss.source.schedule.tokens
    passes = choose_passes(model, tokens, loss.batch_size, recomputed=0)
    if passes is not run_passes:
        seconds = iterations(bench, f"{what}, recorded", budget, parameters, loss, 12, passes)
        print(f"recorded / plain: {seconds / before:.2f}", flush=True)
    if flash_attention.is_installed() and loss.batch_size >= flash_attention.MIN_BATCH:
        seconds = iterations(bench, f"{what}, FlashAttention-4", budget, parameters, loss)
        print(f"FlashAttention-4 / PyTorch's attention: {seconds / before:.3f}", flush=True)


@contextmanager
def pytorch_attention() -> Iterator[None]:
    """Do without FlashAttention-4 inside the block."""
    batch, flash_attention.MIN_BATCH = flash_attention.MIN_BATCH, 10**9
    try:
        yield
    finally:
        flash_attention.MIN_BATCH = batch


def measure_training(bench: Bench, model: Infinity, source: Source, budget: str) -> None:
    """Both stages at batch 1 and 2: plain, with recomputation, and with the faster means."""
    tokens = source.schedule.tokens
    vectors = nn.Parameter(torch.zeros(20, source.text.features.shape[-1], device=DEVICE))
    learned, noise = with_learned(source, vectors), TrainingSettings()
    model.train().set_drop_path(0.1)
    loss_of_vectors = InversionLoss(model, model, learned, noise, 1)
    for choice in ("auto", "all"):
        prepare(model, tokens, choice)
        how = "" if choice == "auto" else ", recomputed"
        what = f"embedding iteration, batch 1{how}"
        seconds = iterations(bench, what, budget, [vectors], loss_of_vectors)
        if choice == "auto":
            faster_iterations(bench, what, budget, [vectors], loss_of_vectors, seconds)
    vectors.requires_grad_(False)
    adapted = add_lora(model, LoraSettings()).to(DEVICE).train()
    matrices = [p for p in adapted.parameters() if p.requires_grad]
    for batch in (1, 2):
        loss = InversionLoss(adapted, model, learned, noise, batch, 2e-7)
        for choice in ("none", "all"):
            if choice == "none" and blocks_to_checkpoint(model, tokens * batch, free_bytes(DEVICE)):
                continue  # does not fit
            prepare(model, tokens * batch, choice)
            how = "" if choice == "none" else ", recomputed"
            what = f"LoRA iteration, batch {batch}{how}"
            with pytorch_attention():
                seconds = iterations(bench, what, budget, matrices, loss)
            if choice == "none":
                faster_iterations(bench, what, budget, matrices, loss, seconds)
    adapted.unload()
    prepare(model, tokens, "none")
    model.eval().requires_grad_(False)


def measure_edits(bench: Bench, chosen: Preset, model: Infinity, source: Source) -> None:
    """Edits with soft prompt and an adapter, as jobs draw them."""
    scales = source.schedule
    budget = scales.pixel_budget
    adapted = add_lora(model, LoraSettings()).to(DEVICE).eval().requires_grad_(False)
    tokenizer = random_tokenizer(chosen, DEVICE)
    learned = torch.randn(20, source.text.features.shape[-1], device=DEVICE) * 1e-3
    text, grid = source.text.append(learned), scales.tokenizer_grid
    codes = [
        torch.randn(1, chosen.tokenizer.bits, *grid, device=DEVICE) * 0.1 for _ in scales.scales
    ]
    kernel = torch.rand(grid, device=DEVICE)

    def draw(edit: Editor, passes: Callable = ScalePasses) -> Tensor:
        generator = torch.Generator().manual_seed(1)
        with torch.inference_mode():
            drawn = sample(model, text, scales, SamplingSettings(), generator, edit, passes=passes)
            return tokenizer.decode(drawn.code).cpu()

    blend, replays = MaskBlend(codes, kernel), CudaGraphRunner()
    bench.run("edit under a blend mask", budget, lambda: draw(blend))
    bench.run("edit under a blend mask, with CUDA graphs", budget, lambda: draw(blend, replays), 8)
    same = torch.equal(draw(blend), draw(blend, replays))
    print(f"replayed picture equals the plain one: {same}")
    replays = CudaGraphRunner()  # lets go of the recorded passes
    bench.run("edit of the whole image", budget, lambda: draw(keep_generated))

    def attend() -> Tensor:
        collector = AttentionCollector(scales, (3, 5))
        sample(
            model, source.text, scales, SamplingSettings(), torch.Generator(),
            ReplaySource(codes), watcher=collector, guidance=Unguided(),
        )  # fmt: skip
        return collector.mean.cpu()

    bench.run("attention map", budget, attend)
    adapted.unload()
    pixels = torch.rand(1, 3, *scales.image_size, device=DEVICE)
    with torch.inference_mode():
        bench.run("tokenizer: encode", budget, lambda: tokenizer.encode(pixels).cpu())
        code = torch.randn(1, chosen.tokenizer.bits, *grid, device=DEVICE)
        bench.run("tokenizer: decode", budget, lambda: tokenizer.decode(code).cpu())


def measure_text_encoder(bench: Bench) -> None:
    """flan-t5-xl's encoder with random weights, fp16."""
    from transformers import T5Config, T5EncoderModel

    config = T5Config(
        d_model=2048, d_kv=64, d_ff=5120, num_layers=24, num_heads=32, vocab_size=32128,
        feed_forward_proj="gated-gelu",
    )  # fmt: skip
    torch.set_default_dtype(torch.float16)
    with DEVICE:
        encoder = T5EncoderModel(config).eval()
    torch.set_default_dtype(torch.float32)
    tokens = torch.arange(1, 41, device=DEVICE)[None]
    with torch.inference_mode():
        bench.run("text encoder: 40 tokens", "", lambda: encoder(tokens).last_hidden_state.cpu())


CHILD = """
import sys, time; sys.path[:0] = [{root!r}, {here!r}]
began = time.perf_counter()
import editinfinity
imported = time.perf_counter() - began
import resource, torch
from pathlib import Path
from editinfinity.files.transformer_weights import load_transformer
from editinfinity.presets import preset
chosen, device = preset({name!r}), torch.device("cuda")
torch.zeros(1, device=device)
started = time.perf_counter() - began
began = time.perf_counter()
model = load_transformer(chosen, device, Path({folder!r}))
torch.cuda.synchronize()
loaded = time.perf_counter() - began
import gpu, gpu_models
anonymous = [int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("RssAnon")][0]
tokenizer = gpu_models.random_tokenizer(chosen, device)
scales = gpu_models.schedule_of(chosen, "1M")
source = gpu_models.random_source(chosen, scales, device)
torch.cuda.synchronize()
began = time.perf_counter()
with torch.inference_mode():
    generator = torch.Generator().manual_seed(1)
    drawn = gpu.sample(model, source.text, scales, gpu.SamplingSettings(), generator)
    tokenizer.decode(drawn.code).cpu()
first = time.perf_counter() - began
print("RESULT", imported, started, loaded, first, anonymous / 2**20)
"""


def measure_fresh_processes(bench: Bench, chosen: Preset) -> None:
    """Import, load from converted files in the page cache, and the first picture."""
    from safetensors.torch import save_file

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = random_transformer(chosen, torch.device("cuda"))
        for label, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
            from editinfinity.models.released import released_transformer_key

            state = {
                released_transformer_key(key, chosen.transformer): tensor.to(dtype).cpu()
                for key, tensor in model.state_dict().items()
            }
            save_file(state, folder / "transformer.safetensors")
            del state
            for cache in ("cold", "warm"):
                environment = {**os.environ, "TRITON_CACHE_DIR": str(folder / f"triton-{label}")}
                script = CHILD.format(
                    root=str(Path(__file__).resolve().parents[1]),
                    here=str(Path(__file__).resolve().parent), name=chosen.name, folder=name,
                )  # fmt: skip
                done = subprocess.run(
                    [sys.executable, "-c", script], capture_output=True, text=True, env=environment
                )
                lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
                if not lines:
                    print(done.stderr[-2000:])
                    continue
                imported, started, loaded, first, anonymous = map(float, lines[0].split()[1:])
                print(
                    f"{label} file, {cache} kernels: import {imported:.2f} s, CUDA ready "
                    f"{started:.2f} s, load {loaded:.2f} s, first picture {first:.2f} s, "
                    f"{anonymous:.2f} GiB of RAM of its own",
                    flush=True,
                )
                bench.rows.append(Row(f"load from a {label} file", "1M", loaded, loaded, 0))
                bench.rows.append(Row(f"first picture, {cache} kernels", "1M", first, first, 0))


def table(rows: list[Row], floors: dict[str, float | None]) -> str:
    """The rows beside upstream's figures and the floor."""
    lines = [
        "| work | budget | seconds | upstream / ours | floor | peak GiB |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        what = row.what.removesuffix(", with CUDA graphs")
        theirs = UPSTREAM.get(what) if row.budget == "1M" else None
        ratio = f"{theirs / row.seconds:.1f}×" if theirs else ""
        floor = floors.get(row.budget) if row.what.endswith("iteration, batch 1") else None
        share = f"{floor:.3f} ({floor / row.seconds:.0%})" if floor else ""
        cells = (row.what, row.budget, f"{row.seconds:.3f}", ratio, share, f"{row.peak_gib:g}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--preset", default="infinity_2b", choices=sorted(PRESETS))
    parser.add_argument("--budgets", nargs="+", default=list(PIXEL_BUDGETS), choices=PIXEL_BUDGETS)
    parser.add_argument("--parts", nargs="+", default=["train", "edit", "stages", "load"])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    chosen, bench = preset(options.preset), Bench()
    tflops, copies = ceilings()
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {options.preset}")
    print(f"ceilings: {tflops:.0f} TFLOP/s bf16 product, {copies:.2f} TB/s copy")
    if "load" in options.parts:
        measure_fresh_processes(bench, chosen)
        torch.cuda.empty_cache()
    if "stages" in options.parts:
        measure_text_encoder(bench)
    floors: dict[str, float | None] = {}
    if {"train", "edit"} & set(options.parts):
        model = random_transformer(chosen, DEVICE)
        for budget in options.budgets:
            scales = schedule_of(chosen, budget)
            floors[budget] = training_floor(scales, chosen, tflops)
            source = random_source(chosen, scales, DEVICE)
            torch.cuda.reset_peak_memory_stats()
            if "train" in options.parts:
                measure_training(bench, model, source, budget)
            if "edit" in options.parts:
                measure_edits(bench, chosen, model, source)
    if options.json:
        facts = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__,
                 "tflops": tflops, "copy_tb_s": copies, "preset": options.preset,
                 "rows": [asdict(row) for row in bench.rows]}  # fmt: skip
        options.json.write_text(json.dumps(facts, indent=1))
    print(table(bench.rows, floors))


if __name__ == "__main__":
    main()
