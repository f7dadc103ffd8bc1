"""What the warm worker saves: wall time of a batch with and without it, and the cost of a job.

    python benchmarks/worker.py                      1, 4 and 16 cases, as long as that takes
    python benchmarks/worker.py --cases 1 4 --lora 10

Every batch is a folder of copies of the examples, run by Snakemake as a user runs it. A batch's own
compute is the time its stages took inside the worker, loading included; what is left of the wall
time is overhead, most of it Snakemake's and Python's start. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ("example_1", "example_2", "example_3")


@dataclass(frozen=True)
class Measured:
    """One batch.

    Attributes:
        seconds: wall time, from the command to its end.
        jobs: how many ran.
        compute: seconds inside the worker; None without one.
    """

    seconds: float
    jobs: int
    compute: float | None


def measure(folder: Path, cases: int, worker: str, settings: list[str]) -> Measured:
    """Run a batch in an empty folder."""
    for number in range(cases):
        shutil.copytree(
            ROOT / "data" / EXAMPLES[number % 3], folder / "data" / f"case {number:03d}"
        )
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--cores", "1", "--resources", "gpu=1", "--config", f"worker={worker}", *settings]
    began = time.perf_counter()
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - began
    if run.returncode:
        sys.exit(run.stdout + run.stderr)
    logs = [path.read_text("utf-8") for path in folder.glob("results/*/logs/**/*.log")]
    work = [float(number) for log in logs for number in re.findall(r": ([\d.]+) s of work", log)]
    return Measured(seconds, len(logs), sum(work) if work else None)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cases", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--embedding", type=int, default=10, help="iterations of stage 2")
    parser.add_argument("--lora", type=int, default=50, help="iterations of stage 3")
    options = parser.parse_args()
    settings = [
        f"model={options.model}",
        f"train_textembedding_iter={options.embedding}",
        f"train_lora_iter={options.lora}",
    ]
    print(f"load before: {os.getloadavg()[0]:.2f}, cores: {os.cpu_count()}\n")
    print("| cases | jobs | worker | without | own compute | worker / compute | overhead a job |")
    print("|---|---|---|---|---|---|---|")
    for cases in options.cases:
        both = {}
        for worker in ("auto", "off"):
            with tempfile.TemporaryDirectory() as folder:
                both[worker] = measure(Path(folder), cases, worker, settings)
        warm = both["auto"]
        assert warm.compute is not None, "no worker ran"
        print(
            f"| {cases} | {warm.jobs} | {warm.seconds:.0f} s | {both['off'].seconds:.0f} s "
            f"| {warm.compute:.0f} s | {warm.seconds / warm.compute:.2f} "
            f"| {(warm.seconds - warm.compute) / warm.jobs:.2f} s |",
            flush=True,
        )
    print(f"\nload after: {os.getloadavg()[0]:.2f}")


if __name__ == "__main__":
    main()
