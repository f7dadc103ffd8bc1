"""Time and memory of converting a released model at its real size, with random values.

    python benchmarks/convert_released.py FOLDER [MODEL] [PART …] [--keep]

Part by part (tokenizer, transformer, text_encoder): writes files of the real names, keys and shapes
into FOLDER (tests/parity_data/released; flan-t5-xl by its configuration), converts and verifies
them, loads and uses the text encoder once on the CPU, and deletes everything, or keeps what was
converted in FOLDER/converted, a whole model for benchmarks/worker.py. The largest takes
11 GB of disk twice for infinity_2b, 34 GB twice for infinity_8b. The measured values are anonymous
memory (``RssAnon``) and the maximum resident memory, which includes pages of mapped files
(``VmRSS``).
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor

from editinfinity.files.state_dicts import find_weight_files
from editinfinity.files.text_encoder_weights import load_text_encoder
from editinfinity.presets import preset
from editinfinity.prompts import CAPTION_SUFFIX
from editinfinity.released.catalogue import PARTS, release
from editinfinity.released.convert import _convert_part
from editinfinity.released.stored import StoredTensor
from editinfinity.released.streaming import write_streamed
from editinfinity.released.verify import verify
from tests.released.files import (
    TOKENIZER_FILE,
    TOKENIZER_LIST,
    TRANSFORMER_FILE,
    TRANSFORMER_LIST,
    released_shapes,
    write_vocabulary,
)

FLAN_T5_XL = {
    "vocab_size": 32128, "d_model": 2048, "d_ff": 5120, "num_layers": 24, "num_heads": 32,
    "d_kv": 64, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False,
}  # fmt: skip
"""What its published config.json says; 2.85 billion parameters, 1.22 of them the encoder's."""


def write_full_size(model: str, part: str, folder: Path) -> None:
    """Write random files of a part; a separate process keeps its memory out of the measurement."""
    folder.mkdir(parents=True, exist_ok=True)
    if part == "text_encoder":
        _write_text_encoder(folder / "flan-t5-xl")
        return
    tokenizer = part == "tokenizer"
    file = (TOKENIZER_FILE if tokenizer else TRANSFORMER_FILE)[model]
    shapes = released_shapes((TOKENIZER_LIST if tokenizer else TRANSFORMER_LIST)[model])
    if not Path(file).suffix:
        write_random_shards(folder / file, shapes, 8, torch.float32)
    else:
        state = {key: random_values(key, shape, torch.float32) for key, shape in shapes.items()}
        torch.save({"vae": state} if tokenizer else state, folder / file)


def _write_text_encoder(folder: Path) -> None:
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(**FLAN_T5_XL)
    with torch.device("meta"):
        tensors = T5ForConditionalGeneration(config).state_dict()
    tied = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
    shapes = {key: tuple(t.shape) for key, t in tensors.items() if key not in tied}
    config.save_pretrained(folder)
    write_vocabulary(folder)
    write_random_shards(folder, shapes, 2, torch.float32)


def write_random_shards(
    folder: Path,
    shapes: Mapping[str, tuple[int, ...]],
    count: int,
    dtype: torch.dtype = torch.bfloat16,
) -> None:
    """Shards of a Hugging Face checkpoint, one tensor in memory at a time."""
    names = sorted(shapes)
    for index in range(count):
        tensors = {
            key: StoredTensor(shapes[key], dtype, partial(random_values, key, shapes[key], dtype))
            for key in names[index::count]
        }
        name = f"model-{index + 1:05d}-of-{count:05d}.safetensors"
        write_streamed(folder / name, tensors, {})


def random_values(key: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Return random values of the magnitude of real weights, so that the model can run."""
    generator = torch.Generator().manual_seed(len(key))
    return torch.empty(shape, dtype=dtype).uniform_(-0.05, 0.05, generator=generator)


def status(name: str) -> float:
    """Return a value of /proc/self/status, in GiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 2**20
    return 0.0


class Watch(threading.Thread):
    """Thread that samples the maximum anonymous and resident memory, in GiB."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most = {"RssAnon": 0.0, "VmRSS": 0.0}

    def run(self) -> None:
        while True:
            for name in self.most:
                self.most[name] = max(self.most[name], status(name))
            time.sleep(0.05)


def measure(folder: Path, model: str, part: str, keep: bool) -> None:
    """Write, convert, verify and use one part; run this in a separate process."""
    source, target = folder / "released", folder / "converted"
    try:
        subprocess.run([sys.executable, __file__, "--write", str(source), model, part], check=True)
        files = find_weight_files(source, release(model)[part].pattern, part)
        size = sum(path.stat().st_size for path in files) / 2**30
        print(f"{part} of {model}: {size:.2f} GiB released", flush=True)
        before = status("VmRSS")
        watch = Watch()
        watch.start()
        start = time.perf_counter()
        done = _convert_part(preset(model), part, files, target, "released")
        seconds = time.perf_counter() - start
        print(f"  converted: {done.tensors} tensors, {done.bytes / 2**30:.2f} GiB, {seconds:.0f} s")
        print(f"  memory before {before:.2f} GiB, most {watch.most}", flush=True)
        print(f"  {verify(done.file)[0].line()}", flush=True)
        shutil.rmtree(source)
        if part == "text_encoder":
            start = time.perf_counter()
            encoder = load_text_encoder(preset(model), torch.device("cpu"), target)
            features = encoder.encode("a red cat" + CAPTION_SUFFIX).features
            assert features.isfinite().all() and features.shape[2] == encoder.width
            seconds = time.perf_counter() - start
            print(f"  loaded and used on the CPU in {seconds:.0f} s, most {watch.most}")
    finally:
        shutil.rmtree(source, ignore_errors=True)
        if not keep:
            shutil.rmtree(target, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", 1)[0])
    parser.add_argument("folder", type=Path, help="folder with enough free disk space")
    parser.add_argument("model", nargs="?", default="infinity_2b")
    parser.add_argument("parts", nargs="*", metavar="part", help="of the model; default: all")
    parser.add_argument("--keep", action="store_true", help="keep the converted files")
    # Each part runs in a separate process, so that its memory is measured alone.
    parser.add_argument("--write", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    parts = args.parts or list(PARTS)
    if unknown := set(parts) - set(PARTS):
        parser.error(f"{', '.join(sorted(unknown))}: not one of {', '.join(PARTS)}")
    if args.write:
        write_full_size(args.model, parts[0], args.folder)
    elif args.measure:
        measure(args.folder, args.model, parts[0], args.keep)
    else:
        print(f"load {Path('/proc/loadavg').read_text()[:4]}", flush=True)
        for part in parts:
            command = [sys.executable, __file__, "--measure", str(args.folder), args.model, part]
            subprocess.run(command + ["--keep"] * args.keep, check=True)


if __name__ == "__main__":
    main()
