"""How a batch scales with the number of GPUs, without GPUs.

    python benchmarks/simulated_gpus.py --gpus 1 2 4 --photographs 8

Snakemake, jobs, workers and locks of GPUs are real. The GPUs are only names: the workers compute
with the ``tiny`` model on the CPU, and each stage then sleeps until it has taken as long as with
Infinity-2B at 1M on an H200. So the table shows what starting jobs and handing on GPUs cost, with
whatever CPU cores there are. The start of a worker is shorter than with a real model.

The columns, in seconds: *first iteration*, from the command to the end of the first iteration on
every GPU; *after that*, to the end; *first picture*, from the command; *speed-up* of *after that*,
relative to the first row.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from batch import Batch, run

from editinfinity.worker.cards import VISIBLE

SECONDS = {
    "image_features": 0.23,
    "text_features": 0.06,
    "rendering": 0.28,
    "train_textembedding": 3.1,
    "train_lora": 5.84,
    "attention_map": 1.1,
    "edit": 1.1,
}
"""Stage → seconds of a job with 10 iterations (``benchmarks/batch.py`` prints them)."""

SLOW_WORKER = f"""
import sys, time
if "editinfinity.worker.server" in sys.orig_argv:
    from editinfinity.stages.calls import Call
    seconds, run = {SECONDS}, Call.run
    def slow(call, host):
        began = time.monotonic()
        run(call, host)
        time.sleep(max(0, seconds.get(call.stage, 0) - (time.monotonic() - began)))
    Call.run = slow
"""
"""The module ``sitecustomize`` of all processes."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--photographs", type=int, default=8)
    parser.add_argument("--cores", type=int, help="of Snakemake; default: 4 for each GPU")
    parser.add_argument("--compare", type=Path, help="another checkout to run instead")
    given = parser.parse_args()
    checkout = (given.compare or Path(__file__).parents[1]).resolve()
    settings = ("model=tiny", "device=auto", "threads=1")
    print("| GPUs | photographs | first iteration | after that | first picture | speed-up |")
    print("|--:|--:|--:|--:|--:|--:|")
    slowest = None
    with tempfile.TemporaryDirectory(dir="/tmp") as scratch:  # paths of sockets must be short
        Path(scratch, "sitecustomize.py").write_text(SLOW_WORKER, encoding="utf-8")
        os.environ |= {"PYTHONPATH": scratch, "XDG_RUNTIME_DIR": scratch}
        for gpus in given.gpus:
            os.environ[VISIBLE] = ",".join(f"GPU-{number:08}-aa" for number in range(gpus))
            folder = Path(scratch, f"gpus {gpus}")
            folder.mkdir()
            cores = given.cores or 4 * gpus
            batch = Batch("", checkout, given.photographs, gpus, cores, (10, 50), settings)
            began = time.time()
            first, end = run(batch, folder)
            pictures = sorted(path.stat().st_mtime for path in folder.glob("results/*/edit.png"))
            slowest = slowest or end - first
            print(
                f"| {gpus} | {given.photographs} | {first:.1f} | {end - first:.1f} "
                f"| {pictures[0] - began:.0f} | {slowest / (end - first):.2f} |",
                flush=True,
            )
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
