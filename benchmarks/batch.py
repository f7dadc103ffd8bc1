"""What a photograph costs in a batch: the whole workflow, compared with its own iterations.

    python benchmarks/batch.py                                   4 photographs on one GPU
    python benchmarks/batch.py --cores 4 1 --compare CHECKOUT    also with another version
    python benchmarks/batch.py --photographs 8 --gpus 1 2 4 --iterations 5 10
    python benchmarks/batch.py --model tiny --device cpu --photographs 2 --iterations 3 6

The model has random weights at its real size, written once into ``--weights`` (a temporary folder
by default; infinity_2b with flan-t5-xl needs 13 GB, or 7 with ``--dtype bf16``). Before the
measured runs, one short run compiles the GPU kernels. Each batch is a folder of copies of the
examples, run by Snakemake as a user runs it.

The columns of the table, in seconds:

- *first iteration*: from the command to the end of the first iteration on every GPU;
- *a photograph*: the time after that, divided by the number of photographs and multiplied by the
  number of GPUs;
- *iterations*: the median time of an iteration of each training, times their number (each job
  needs three iterations or more for that);
- *drawing*: the median duration of the stage ``edit``, as its worker measured it;
- *rest*: what is left of *a photograph*; *ratio*: *a photograph* / (*iterations* + *drawing*).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch
from PIL import Image
from torch import Tensor

from editinfinity.files.atomic import write_text
from editinfinity.files.loading import build_on_meta
from editinfinity.files.model_folder import RECORD_NAME
from editinfinity.jobs.record import Iteration, JobRecord, ResourceUsage, read_records
from editinfinity.models.tokenizer import Tokenizer
from editinfinity.models.transformer import Infinity
from editinfinity.presets import Preset, preset
from editinfinity.released.stored import StoredTensor
from editinfinity.released.streaming import write_streamed

EXAMPLES = ("example_1", "example_2", "example_3", "photo")
PHOTOGRAPH_SIDE = 1600
"""Longer side of each photograph, in pixels."""

FLAN_T5_XL = {
    "vocab_size": 32128, "d_model": 2048, "d_ff": 5120, "num_layers": 24, "num_heads": 32,
    "d_kv": 64, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False,
}  # fmt: skip


def write_weights(model: Preset, folder: Path, dtype: torch.dtype) -> None:
    """Write random weights of a model as if it had been converted, unless the folder has them."""
    if model.weights is None or model.name == "bundled" or (folder / "complete").exists():
        return
    transformer = build_on_meta(lambda: Infinity(model.transformer).set_block_dtype(dtype))
    tokenizer = build_on_meta(lambda: Tokenizer(model.tokenizer))
    digests = {
        "transformer.safetensors": _write_random(
            folder / "transformer.safetensors", transformer.state_dict()
        ),
        "tokenizer.safetensors": _write_random(
            folder / "tokenizer.safetensors", tokenizer.state_dict()
        ),
        "text_encoder/model.safetensors": _write_flan_t5_xl(folder / "text_encoder", dtype),
    }
    # As after a conversion. Without it, each batch, as it runs in a folder of its own, would read
    # all weights once more to learn their digests.
    parts = {
        name: {"file": name, "sha256": digest, "bytes": (folder / name).stat().st_size}
        for name, digest in digests.items()
    }
    write_text(folder / RECORD_NAME, json.dumps({"model": model.name, "parts": parts}))
    (folder / "complete").touch()


def _write_random(path: Path, tensors: dict[str, Tensor], dtype: torch.dtype | None = None) -> str:
    """Write random tensors of the given shapes, and return the file's SHA-256."""
    stored = {
        name: StoredTensor(
            tuple(tensor.shape),
            dtype or tensor.dtype,
            partial(_random_values, name, tuple(tensor.shape), dtype or tensor.dtype),
        )
        for name, tensor in tensors.items()
    }
    return write_streamed(path, stored, {})


def _random_values(name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Return values of the magnitude of an initialisation, made on the GPU if there is one."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    generator = torch.Generator(device).manual_seed(len(name))
    if len(shape) <= 1 or "scale_mul" in name:
        value = 1.0 if "norm" in name and "weight" in name else 0.0
        return torch.full(shape, value, dtype=dtype)
    values = torch.empty(shape, dtype=dtype, device=device)
    return values.uniform_(-0.03, 0.03, generator=generator).cpu()


def _write_flan_t5_xl(folder: Path, dtype: torch.dtype) -> str:
    """Write a random encoder of flan-t5-xl's shape, with a vocabulary of its size.

    Returns:
        The SHA-256 of its weights.
    """
    from tokenizers import Tokenizer as Words
    from tokenizers import models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

    config = T5Config(**FLAN_T5_XL)
    config.save_pretrained(folder)
    letters = [f"▁{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]
    pieces = ["<pad>", "</s>", "<unk>", "▁", *letters, *"abcdefghijklmnopqrstuvwxyz,."]
    pieces += [f"<{number}>" for number in range(32100 - len(pieces))]
    words = Words(models.Unigram([(piece, -float(i)) for i, piece in enumerate(pieces)], unk_id=2))
    words.pre_tokenizer = pre_tokenizers.Metaspace()
    words.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)
    with torch.device("meta"):
        tensors = T5EncoderModel(config).state_dict()
    tensors.pop("encoder.embed_tokens.weight", None)  # the same as shared.weight
    return _write_random(folder / "model.safetensors", tensors, dtype)


@dataclass(frozen=True)
class Batch:
    """One run of the workflow to measure.

    Attributes:
        name: what is compared: ``this``, or the folder of the other checkout.
        checkout: folder of the version to run.
        photographs: how many.
        gpus: number of GPUs to use.
        cores: value of Snakemake's ``--cores``.
        iterations: iterations of the soft prompt and of LoRA.
        settings: further settings, as Snakemake's ``--config`` takes them.
    """

    name: str
    checkout: Path
    photographs: int
    gpus: int
    cores: int
    iterations: tuple[int, int]
    settings: tuple[str, ...]

    def command(self) -> list[str]:
        """Return the command that runs it in a folder with the photographs."""
        soft_prompt, lora = self.iterations
        return [
            *(sys.executable, "-m", "snakemake", "--snakefile", str(self.checkout / "Snakefile")),
            *("--cores", str(self.cores), "--resources", f"gpu={self.gpus}", "--config"),
            *(f"train_textembedding_iter={soft_prompt}", f"train_lora_iter={lora}", "metrics=0"),
            *self.settings,
        ]


def run(batch: Batch, folder: Path) -> list[float]:
    """Run a batch in an empty folder.

    Returns:
        Seconds from the command to the end of the first iteration on every GPU, and to its end.

    Raises:
        SystemExit: the run failed; its output was printed.
    """
    for number in range(batch.photographs):
        source, case = ROOT / "data" / EXAMPLES[number % 4], folder / "data" / f"case {number:03d}"
        shutil.copytree(source, case)
        for path in (case / "image").iterdir():
            _enlarge(path)
    paths = [str(batch.checkout), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # each job would compile what it imports
    if torch.cuda.is_available():
        visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(
            str(number) for number in range(torch.cuda.device_count())
        )
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(visible.split(",")[: batch.gpus])
    began = time.monotonic()
    with _first_iterations(folder / "results", batch.gpus) as first:
        ended = subprocess.run(
            batch.command(),
            cwd=folder,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    if ended.returncode or not first:
        sys.exit(f"{ended.stdout[-6000:]}\n{batch.name}: the run failed")
    return [first[0] - began, time.monotonic() - began]


def _enlarge(path: Path) -> None:
    """Enlarge a picture to the size of the photographs, in place."""
    with Image.open(path) as picture:
        scale = PHOTOGRAPH_SIDE / max(picture.size)
        size = round(picture.width * scale), round(picture.height * scale)
        larger = picture.resize(size, Image.Resampling.BICUBIC)
    larger.save(path)


@contextmanager
def _first_iterations(results: Path, count: int) -> Iterator[list[float]]:
    """Within the block, watch for the first iterations of ``count`` trainings at once.

    Yields:
        A list that receives the time (``time.monotonic``) at which they had all ended.
    """
    first: list[float] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            records = results.glob("*/logs/text_embedding/*.jsonl")
            if sum(b'"iteration"' in path.read_bytes() for path in records) >= count:
                first.append(time.monotonic())
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield first
    finally:
        over.set()
        thread.join()


@dataclass(frozen=True)
class Costs:
    """Seconds of a batch: to the first iteration, and of each photograph after that."""

    first: float
    photograph: float
    iterations: float
    drawing: float

    @property
    def own(self) -> float:
        """Seconds of the iterations and the drawing of a photograph."""
        return self.iterations + self.drawing

    @property
    def ratio(self) -> float:
        """Seconds of a photograph, relative to its own iterations and drawing."""
        return self.photograph / self.own


def costs_of(batch: Batch, results: Path, first: float, end: float) -> Costs:
    """Return the costs of a batch that was run."""
    records = [each for logs in results.glob("*/logs") for each in read_records(logs)]
    usages = [usage for record in records for usage in record.all(ResourceUsage)]
    by_stage: dict[str, list[float]] = {}
    for usage in usages:
        by_stage.setdefault(usage.stage, []).append(usage.seconds)
    for stage, seconds in sorted(by_stage.items()):
        total, middle = sum(seconds) / batch.photographs, statistics.median(seconds)
        print(
            f"  {stage}: {len(seconds)} × {middle:.2f} s, at most {max(seconds):.2f} s, "
            f"{total:.2f} s a photograph",
            flush=True,
        )
    numbers = zip(("train_textembedding", "train_lora"), batch.iterations, strict=True)
    iterations = sum(number * _median_iteration(records, stage) for stage, number in numbers)
    return Costs(
        first=first,
        photograph=(end - first) * batch.gpus / batch.photographs,
        iterations=iterations,
        drawing=statistics.median(by_stage["edit"]),
    )


def _median_iteration(records: list[JobRecord], stage: str) -> float:
    """Return the median seconds of an iteration of a training.

    A rate counts from the start of a training. Each iteration is reported at the end of the next,
    and the last one together with the one before, so that the last difference is none.
    """
    seconds = []
    for record in records:
        events = [event for event in record.all(Iteration) if event.stage == stage]
        ends = [count / event.rate for count, event in enumerate(events, 1)]
        seconds += [after - before for before, after in pairwise(ends[:-1])]
    return statistics.median(seconds)


HEAD = """
| version | GPUs | cores | photographs | iterations | first iteration | a photograph | iterations \
| drawing | rest | ratio |
|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"""


def row(batch: Batch, costs: Costs) -> str:
    """Return a row of the table."""
    soft_prompt, lora = batch.iterations
    return (
        f"| {batch.name} | {batch.gpus} | {batch.cores} | {batch.photographs} "
        f"| {soft_prompt} + {lora} | {costs.first:.1f} | {costs.photograph:.1f} "
        f"| {costs.iterations:.1f} | {costs.drawing:.2f} | {costs.photograph - costs.own:.1f} "
        f"| {costs.ratio:.2f} |"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--photographs", type=int, default=4)
    parser.add_argument("--gpus", type=int, nargs="+", default=[1])
    parser.add_argument("--cores", type=int, nargs="+", default=[4], help="of Snakemake, each")
    parser.add_argument("--iterations", type=int, nargs=2, default=[10, 50], metavar="N")
    parser.add_argument("--compare", type=Path, help="another checkout to run as well")
    parser.add_argument("--model", default="infinity_2b")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--weights", type=Path, help="folder for the random weights, kept")
    parser.add_argument("--dtype", choices=("fp32", "bf16"), default="fp32", help="of the weights")
    parser.add_argument("--set", nargs="*", default=[], metavar="SETTING=VALUE")
    parser.add_argument("--save", type=Path, help="file to add the results to, as JSON lines")
    given = parser.parse_args()
    versions = {"this": ROOT} | ({given.compare.name: given.compare} if given.compare else {})
    with tempfile.TemporaryDirectory() as scratch:
        weights = (given.weights or Path(scratch) / "weights").resolve()
        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[given.dtype]
        began = time.monotonic()
        write_weights(preset(given.model), weights, dtype)
        print(f"weights written in {time.monotonic() - began:.0f} s", flush=True)
        settings = [f"model={given.model}", f"device={given.device}", *given.set]
        if weights.exists():
            settings.append(f"model_dir={weights}")
        rows = [HEAD]

        def measure(batch: Batch) -> Costs:
            folder = Path(tempfile.mkdtemp(dir=scratch))
            costs = costs_of(batch, folder / "results", *run(batch, folder))
            shutil.rmtree(folder)
            return costs

        for name, checkout in versions.items():
            base = Batch(name, checkout.resolve(), 1, 1, 4, (4, 4), tuple(settings))
            if torch.cuda.is_available():
                print(
                    f"{name}: kernels compiled, {measure(base).first:.1f} s to the first iteration"
                )
            for gpus in given.gpus:
                for cores in given.cores:
                    batch = Batch(
                        name,
                        checkout.resolve(),
                        given.photographs,
                        gpus,
                        max(cores, gpus),
                        tuple(given.iterations),
                        tuple(settings),
                    )
                    costs = measure(batch)
                    rows.append(row(batch, costs))
                    print(*(HEAD, rows[-1]), sep="\n", flush=True)
                    if given.save:
                        with given.save.open("a", encoding="utf-8") as file:
                            facts = {**vars(batch), "checkout": str(checkout), **vars(costs)}
                            file.write(json.dumps(facts) + "\n")
    print(*rows, sep="\n")


if __name__ == "__main__":
    main()
