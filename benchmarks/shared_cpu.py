"""Training beside other work: seconds an iteration, by how idle threads wait.

    python benchmarks/shared_cpu.py [--cores 2] [--iterations 8]

Trains LoRA of the bundled model on a few cores: alone, beside busy processes on the same cores, and
two trainings at once. Each is measured with idle threads that spin (the default of the OpenMP
library), that sleep at once (``OMP_WAIT_POLICY=passive``, what the project sets) and that spin
briefly. Prints a table; two trainings at once are each given in seconds an iteration, so sharing
costs nothing if the number is twice that of one alone.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time

POLICIES = {
    "spin": {"OMP_WAIT_POLICY": "active", "GOMP_SPINCOUNT": "300000"},
    "sleep": {"OMP_WAIT_POLICY": "passive"},
    "spin briefly": {"GOMP_SPINCOUNT": "10000"},
}
"""Name → environment variables. 300,000 is the spin count that the library uses by default."""

BUSY = "while True: pass"

TRAIN = """
import sys, time
import numpy as np, torch
from PIL import Image
from editinfinity.compute import set_threads
from editinfinity.files.features import PromptFeatures
from editinfinity.files.tokenizer_weights import load_tokenizer
from editinfinity.files.transformer_weights import load_transformer
from editinfinity.method.encode import encode_photograph
from editinfinity.method.invert import Trainer, source_of
from editinfinity.presets import preset
from editinfinity.settings.groups import LoraSettings, TrainingSettings
device, model = torch.device("cpu"), preset("bundled")
set_threads("auto")
rng = np.random.default_rng(0)
picture = Image.effect_noise((256, 256), 80).convert("RGB")
words = rng.standard_normal((8, model.transformer.text_width)).astype(np.float32)
photograph = encode_photograph(picture, None, "0.06M", model, load_tokenizer(model, device))
source = source_of(photograph, PromptFeatures(model.name, "", words, ()), device)
transformer = load_transformer(model, device)
def train(iterations):
    began = time.perf_counter()
    Trainer(transformer, model, TrainingSettings()).learn(source, 0, iterations, LoraSettings())
    return time.perf_counter() - began
train(1)
print("ready", flush=True)
sys.stdin.readline()
count = int(sys.argv[1])
print((train(count + 1) - train(1)) / count, flush=True)
sys.stdin.readline()
"""


def start(arguments: list[str], cores: set[int], policy: str) -> subprocess.Popen[str]:
    """Start Python on some cores; its threads wait as a policy says."""
    environment = {k: v for k, v in os.environ.items() if k not in ("OMP_NUM_THREADS",)}
    return subprocess.Popen(
        [sys.executable, "-c", *arguments],
        env=environment | POLICIES[policy],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )


def measure(
    policy: str, cores: set[int], iterations: int, trainings: int = 1, busy: int = 0
) -> float:
    """Return the mean number of seconds an iteration of some trainings at once."""
    running = [start([TRAIN, str(iterations)], cores, policy) for _ in range(trainings)]
    for process in running:
        assert process.stdout is not None
        process.stdout.readline()
    others = [start([BUSY], cores, policy) for _ in range(busy)]
    try:
        for process in running:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        seconds = []
        for process in running:
            assert process.stdout is not None
            seconds.append(float(process.stdout.readline()))
        return statistics.mean(seconds)
    finally:
        for process in [*running, *others]:
            process.kill()
            process.wait()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--iterations", type=int, default=8)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--policies", nargs="*", choices=POLICIES, default=tuple(POLICIES))
    options = parser.parse_args()
    cores = set(sorted(os.sched_getaffinity(0))[: options.cores])
    columns = {
        "alone": {},
        "beside 1 busy process": {"busy": 1},
        "beside 2 busy processes": {"busy": 2},
        "2 trainings at once": {"trainings": 2},
    }
    print("| idle threads | " + " | ".join(columns) + " |", flush=True)
    print("|---" * (1 + len(columns)) + "|", flush=True)
    for policy in options.policies:
        began, cells = time.perf_counter(), []
        for case in columns.values():
            found = [
                measure(policy, cores, options.iterations, **case) for _ in range(options.repeat)
            ]
            cells.append(f"{statistics.median(found):.3f}")
            print(
                policy, cells, f"{time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True
            )
        print(f"| {policy} | " + " | ".join(cells) + " |", flush=True)
        print(f"{time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
