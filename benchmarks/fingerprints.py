"""Cost of reading the user's files completely while planning: 500 photographs of 24 megapixels.

    python benchmarks/fingerprints.py [--cases 500] [--before CHECKOUT] [--rounds 5]

Fingerprints of all photographs when none is known, from the disk and from the page cache, and
when all are; then dry runs in turn with this checkout and, with --before, another. The photographs
differ in their last bytes; they take 5 GB among the system's temporary files and are removed at
the end. Prints tables in Markdown.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from editinfinity.planning.digests import CACHE
from tests.workflow.project import Project, write

CONFIG = {"metrics": 1, "train_lora_iter": 2}

FINGERPRINTS = """
import sys, time
from pathlib import Path
from editinfinity.planning import fingerprint
from editinfinity.planning.digests import DIGESTS
paths = sorted(Path("data").glob("*/image/original_image.jpg"))
began = time.perf_counter()
DIGESTS.persist_in(Path())
fingerprint.of_each(paths, "photographs")
print(time.perf_counter() - began)
"""


def lay_out(folder: Path, count: int) -> Project:
    """Create a project of ``count`` cases, with photographs old enough for cached fingerprints."""
    project = Project(folder)
    rng = np.random.default_rng(0)
    pixels = rng.normal(128, 16, (4000, 6000, 3)).clip(0, 255).astype(np.uint8)
    photograph = folder / "photograph.jpg"
    folder.mkdir()
    project.configure(**CONFIG)
    Image.fromarray(pixels).save(photograph, quality=90)
    content = photograph.read_bytes()
    for number in range(count):
        case = folder / "data" / f"case {number:05d}"
        write(case / "prompt" / "original_image_prompt.txt", "a dog on a hill")
        write(case / "prompt" / "edit_image_prompt.txt", "a cat on a hill")
        (case / "image").mkdir()
        image = case / "image" / "original_image.jpg"
        image.write_bytes(content + number.to_bytes(8))
    print(f"{count} photographs of {len(content) / 1e6:.1f} MB\n", flush=True)
    time.sleep(3)
    return project


def forget(project: Project) -> None:
    """Delete all known fingerprints."""
    shutil.rmtree(project.folder / ".snakemake", ignore_errors=True)


def out_of_memory(project: Project) -> None:
    """Remove the photographs from the page cache."""
    for path in project.folder.glob("data/*/image/*"):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def fingerprints(project: Project) -> float:
    """Return the seconds for the fingerprints of all photographs, in a new process."""
    command = [sys.executable, "-c", FINGERPRINTS]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=project.folder, env=environment, check=True, capture_output=True, text=True
    )
    return float(done.stdout)


def planned(project: Project, checkout: Path) -> tuple[float, float]:
    """Return (wall-clock seconds, CPU seconds) of a dry run."""
    # The Snakefile puts the package beside it before any that is installed.
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(checkout / "Snakefile")]
    began = time.perf_counter()
    run = subprocess.Popen(
        [*command, "--cores", "2", "--quiet", "rules", "-n"], cwd=project.folder,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    _, status, usage = os.wait4(run.pid, 0)
    assert status == 0, f"the dry run with {checkout} failed"
    return time.perf_counter() - began, usage.ru_utime + usage.ru_stime


def row(name: str, values: list[float]) -> None:
    """Print a line of a table."""
    print(f"| {name} | {statistics.median(values):.2f} | {min(values):.2f} |", flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", 1)[0])
    parser.add_argument("--cases", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--before", type=Path, help="another checkout, to compare with")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        project = lay_out(Path(folder) / "project", options.cases)
        measure(project, options.rounds, options.before)


def measure(project: Project, rounds: int, before: Path | None) -> None:
    """Print the tables of a project."""
    ways = {
        "none known, from the disk": [forget, out_of_memory],
        "none known, from the page cache": [forget],
        "all known": [],
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(min(rounds, 3)):
        for name, preparations in ways.items():
            for prepare in preparations:
                prepare(project)
            times[name].append(fingerprints(project))
    print("| fingerprints | median, s | least, s |\n|---|--:|--:|")
    for name, values in times.items():
        row(name, values)
    known = (project.folder / CACHE).stat().st_size
    print(f"\nWhat is known takes {known / 1000:.0f} kB.\n")

    checkouts = {"this": ROOT, **({"before": before} if before else {})}
    clock: dict[str, list[float]] = {name: [] for name in checkouts}
    processor: dict[str, list[float]] = {name: [] for name in checkouts}
    for number in range(rounds):
        # Who goes first changes, since other work on the machine comes and goes.
        for name in list(checkouts)[:: 1 if number % 2 else -1]:
            seconds, busy = planned(project, checkouts[name].resolve())
            clock[name].append(seconds)
            processor[name].append(busy)
    print("| `-n`, all known | median, s | least, s |\n|---|--:|--:|")
    for name in checkouts:
        row(f"{name}, on the clock", clock[name])
        row(f"{name}, processor time", processor[name])
    if before:
        for what, values in (("clock", clock), ("processor time", processor)):
            pairs = [a / b for a, b in zip(values["this"], values["before"], strict=True)]
            print(f"\nRatio of {what}, median of the rounds: {statistics.median(pairs):.3f}")


if __name__ == "__main__":
    main()
