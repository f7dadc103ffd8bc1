"""Time and memory of a whole case with infinity_125m on a CPU: what a laptop can expect.

    python benchmarks/laptop.py [--folder DIR] [--iterations 10 50] [--worker off]
    taskset -c 0,1 python benchmarks/laptop.py          two cores of a larger machine

Writes a converted model of the real shapes with random values into DIR (the transformer of 125
million parameters and the tokenizer in fp32, the encoder of flan-t5-xl in bf16: 3.3 GB), makes a
case of a photograph of 12 megapixels and a target word, and runs it with Snakemake as a user does.
Random weights take as long as real ones and use as much memory, but what they draw is noise.
Needs no network and no GPU. Everything is deleted at the end, unless DIR is given with --keep.

Prints a Markdown table of the stages, last. Seconds and memory are those that the jobs record; the
memory of a stage is the peak of the process that ran it, and that of the whole run the largest sum
over all its processes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import psutil
import torch
from convert_released import FLAN_T5_XL, random_values
from PIL import Image

from editinfinity.environment import available_cores
from editinfinity.jobs.record import Code, Iteration, ResourceUsage, read_records
from editinfinity.presets import preset
from editinfinity.released.convert import CONVERTED
from editinfinity.released.expected import expected
from editinfinity.released.stored import StoredTensor
from editinfinity.released.streaming import write_streamed
from tests.released.files import write_vocabulary

MODEL = preset("infinity_125m")
MARK = "EDITINFINITY_LAPTOP_BENCHMARK"
"""Environment variable that all processes of the run inherit, so that their memory can be added."""

STAGES = {
    "image_features": "encode the photograph",
    "text_features": "encode the source prompt",
    "edit_text_features": "encode the edit prompt",
    "train_textembedding": "learn the text embedding",
    "train_lora": "learn LoRA",
    "attention_map": "locate the target word",
    "edit": "sample and decode the edit",
    "metrics": "measure it",
    "finish": "composite it into the photograph",
}
"""Rules → rows of the table; the others only read and write small files."""


def write_model(folder: Path) -> None:
    """Write a converted model with random values, one tensor in memory at a time."""
    from transformers import T5Config

    encoder = (folder / CONVERTED["text_encoder"]).parent
    encoder.mkdir(parents=True, exist_ok=True)
    write_vocabulary(encoder)
    T5Config(**FLAN_T5_XL).save_pretrained(encoder)
    for part, name in CONVERTED.items():
        dtype = torch.bfloat16 if part == "text_encoder" else torch.float32
        shapes, _ = expected(MODEL, part, encoder)
        tensors = {
            key: StoredTensor(shape, dtype, partial(random_values, key, shape, dtype))
            for key, shape in shapes.items()
        }
        write_streamed(folder / name, tensors, {})


def write_case(folder: Path) -> None:
    """Make a case of example_3, with its picture enlarged to 4000×3000 pixels."""
    case = shutil.copytree(ROOT / "data" / "example_3", folder / "data" / "apple")
    (photograph,) = (case / "image").iterdir()
    with Image.open(photograph) as picture:
        picture.resize((4000, 3000)).save(photograph)


class MemoryWatch(threading.Thread):
    """Samples the resident memory of all processes of the run.

    Attributes:
        peak: largest sum so far, in bytes. Pages that processes share count several times.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = 0

    def run(self) -> None:
        while True:
            total = 0
            for process in psutil.process_iter():
                with suppress(psutil.Error):
                    if process.environ().get(MARK) == str(os.getpid()):
                        total += process.memory_info().rss
            self.peak = max(self.peak, total)
            time.sleep(0.2)


def run_case(folder: Path, model_dir: Path, options: argparse.Namespace) -> tuple[float, int]:
    """Run the case; return the wall-clock seconds and the peak memory of all its processes."""
    embedding, lora = options.iterations
    settings = [
        f"model={MODEL.name}", f"model_dir={model_dir}", "device=cpu", f"threads={options.cores}",
        f"worker={options.worker}", f"text_encoder_dtype={options.text_encoder_dtype}",
        f"train_textembedding_iter={embedding}", f"train_lora_iter={lora}",
    ]  # fmt: skip
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--cores", str(options.cores), "--resources", "gpu=1", "--config", *settings]
    environment = {**os.environ, MARK: str(os.getpid()), "HF_HUB_OFFLINE": "1"}
    watch = MemoryWatch()
    watch.start()
    began = time.perf_counter()
    done = subprocess.run(
        command, cwd=folder, env=environment, stdout=sys.stderr, stderr=sys.stderr, check=False
    )
    if done.returncode:
        sys.exit(f"snakemake: exit status {done.returncode}")
    return time.perf_counter() - began, watch.peak


@dataclass
class Row:
    """A stage: seconds and peak bytes of its jobs; of a training, iterations and their seconds."""

    seconds: float = 0.0
    memory: int = 0
    iterations: int = 0
    training: float = 0.0


def table(logs: Path, seconds: float, peak: int) -> str:
    """Return the stages of a case as a Markdown table."""
    rows: dict[str, Row] = {}
    for record in read_records(logs):
        code, iterations = record.last(Code), record.all(Iteration)
        # A stage that runs a model has its usage recorded; the others are the job itself.
        used = record.last(ResourceUsage) or record.outcome
        if code is None or used is None or code.rule not in STAGES:
            continue
        row = rows.setdefault(code.rule, Row())
        row.seconds += used.seconds
        row.memory = max(row.memory, used.memory or 0)
        row.iterations += len(iterations)
        row.training += len(iterations) / iterations[-1].rate if iterations else 0.0
    lines = ["| stage | time | peak memory |", "|---|--:|--:|"]
    for rule, title in STAGES.items():
        if row := rows.get(rule):
            if row.iterations:
                title += f", {row.iterations} iterations of {row.training / row.iterations:.1f} s"
            lines.append(f"| {title} | {row.seconds:.0f} s | {row.memory / 2**30:.1f} GiB |")
    whole = "the whole run, all processes together"
    lines.append(f"| {whole} | {seconds:.0f} s | {peak / 2**30:.1f} GiB |")
    return "\n".join(lines)


def machine(cores: int) -> str:
    """Name the CPU and the cores that the run may use."""
    name = "unknown CPU"
    with suppress(OSError, IndexError):
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        name = next(line for line in lines if line.startswith("model name")).partition(": ")[2]
    ram = psutil.virtual_memory().total / 2**30
    return f"{cores} cores of {name}, {ram:.0f} GiB of RAM, load {os.getloadavg()[0]:.1f} before"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--folder", type=Path, help="where to write; default: a temporary folder")
    parser.add_argument(
        "--keep", action="store_true", help="keep the model and results in --folder"
    )
    parser.add_argument(
        "--iterations", type=int, nargs=2, default=(10, 50), metavar=("EMBEDDING", "LORA")
    )
    parser.add_argument("--cores", type=int, default=2, help="cores for Snakemake and threads")
    parser.add_argument("--worker", choices=("auto", "off"), default="auto")
    parser.add_argument("--text-encoder-dtype", choices=("auto", "fp32", "bf16"), default="bf16")
    options = parser.parse_args()
    where = machine(min(options.cores, available_cores()))
    folder = Path(tempfile.mkdtemp(prefix="laptop-", dir=options.folder)).resolve()
    try:
        model_dir = folder / "model"
        began = time.perf_counter()
        write_model(model_dir)
        write_case(folder)
        print(f"model written in {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
        seconds, peak = run_case(folder, model_dir, options)
        print(f"\n{where}; worker: {options.worker}, text encoder: {options.text_encoder_dtype}\n")
        print(table(folder / "results" / "apple" / "logs", seconds, peak))
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
