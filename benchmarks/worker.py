"""What the warm worker saves: wall time of a batch with and without it, and the cost of a job.

    python benchmarks/worker.py                                    1, 4 and 16 cases, both ways
    python benchmarks/worker.py --cases 16 --ways auto --device cpu --threads 2 --minutes 8
    python benchmarks/worker.py --model infinity_2b --model-dir FOLDER/converted --ways auto

The last is a released model at its real size, with random weights: FOLDER is of
benchmarks/convert_released.py, called with --keep.

Every batch is a folder of copies of the examples, run by Snakemake as a user runs it, one job at a
time. A batch's own compute is what its stages took, reading the weights once included (without a
worker: what they took with one, in the largest batch); the rest of the wall time is overhead:
Snakemake, starts of Python and torch, handing over.

Each batch is kept as a line of ``--save`` and not run again by a second call; several calls may
share the file. A batch that is not done when ``--minutes`` are over is stopped and told as it is
then: its time is that of the last job that ended. Prints a Markdown table after every batch.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from editinfinity.jobs.record import Code, ResourceUsage, read_record

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ("example_1", "example_2", "example_3")
WAYS = ("auto", "off")


@dataclass(frozen=True)
class Setup:
    """What is measured.

    Attributes:
        cases: how many.
        way: of the setting ``worker``.
        model, device, threads, model_dir: of the settings.
        embedding, lora: iterations of stages 2 and 3.
    """

    cases: int
    way: str
    model: str
    device: str
    threads: str
    embedding: int
    lora: int
    model_dir: str | None = None

    def arguments(self) -> list[str]:
        """For Snakemake."""
        return [
            f"worker={self.way}",
            f"model={self.model}",
            f"device={self.device}",
            f"threads={self.threads}",
            f"train_textembedding_iter={self.embedding}",
            f"train_lora_iter={self.lora}",
            "metrics=0",
            *([f"model_dir={self.model_dir}"] if self.model_dir else []),
        ]


@dataclass(frozen=True)
class MetricResults:
    """One batch.

    Attributes:
        setup: what was run.
        seconds: wall time, from the command to its end or, if stopped, to its last job's.
        jobs: how many ended.
        planned: how many there are.
        stages: of each stage, how many ended and their seconds.
        in_jobs: seconds from each job's start to its end, added up.
        processor: seconds of processor time of Snakemake and its jobs, without the worker's.
        load: other programs' load on the machine before.
    """

    setup: Setup
    seconds: float
    jobs: int
    planned: int
    stages: dict[str, tuple[int, float]]
    in_jobs: float
    processor: float
    load: float

    @property
    def whole(self) -> bool:
        return self.jobs == self.planned

    def a_job(self, seconds: float) -> float:
        return seconds / max(1, self.jobs)


def measure(setup: Setup, folder: Path, until: float) -> MetricResults:
    """Run a batch in an empty folder.

    Args:
        setup: the batch.
        folder: where.
        until: when to stop it (``time.monotonic``).
    """
    for number in range(setup.cases):
        source = ROOT / "data" / EXAMPLES[number % len(EXAMPLES)]
        shutil.copytree(source, folder / "data" / f"case {number:03d}")
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--cores", "1", "--resources", "gpu=1", "--config", *setup.arguments()]
    load, used = os.getloadavg()[0], _processor_time()
    began = last = time.monotonic()
    jobs, planned, said = 0, 0, []
    with subprocess.Popen(
        command,
        cwd=folder,
        text=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as run:
        # As Ctrl-C on a terminal reaches all processes of a run.
        limit = threading.Timer(max(1.0, until - began), os.killpg, (run.pid, signal.SIGINT))
        limit.start()
        assert run.stderr is not None
        for line in run.stderr:
            said.append(line)
            if line.startswith("Finished jobid"):
                last = time.monotonic()
            if steps := re.match(r"(\d+) of (\d+) steps", line):
                jobs, planned = int(steps[1]), int(steps[2])
        limit.cancel()
    if run.returncode == 0:
        last = time.monotonic()
    elif time.monotonic() < until or not jobs:
        sys.exit("".join(said))
    stages, in_jobs = _times(folder / "results")
    return MetricResults(
        setup=setup,
        seconds=last - began,
        jobs=jobs,
        planned=planned,
        stages=stages,
        in_jobs=in_jobs,
        processor=_processor_time() - used,
        load=load,
    )


def _times(results: Path) -> tuple[dict[str, tuple[int, float]], float]:
    """(stages, in_jobs) of the jobs that ended: Snakemake writes the time of a job last."""
    stages: dict[str, tuple[int, float]] = {}
    in_jobs = 0.0
    for times in results.glob("*/benchmark/**/*.tsv"):
        case, _, *rest = times.relative_to(results).parts
        job = Path(*rest).with_suffix("").as_posix()
        record = read_record(results / case / "logs", job)
        code = None if record is None else record.last(Code)
        assert record is not None and code is not None, f"{times}: its job left no record"
        # With the model's stages the worker tells, or the job that ran one by itself.
        usage = record.last(ResourceUsage)
        stage, took = (usage.stage, usage.seconds) if usage else (code.rule, record.seconds or 0.0)
        count, seconds = stages.get(stage, (0, 0.0))
        stages[stage] = count + 1, seconds + took
        in_jobs += float(times.read_text("utf-8").splitlines()[1].split("\t")[0])
    return stages, in_jobs


def _processor_time() -> float:
    """Of all processes this one has started, and theirs; a worker belongs to nobody."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def read_rows(path: Path) -> dict[Setup, MetricResults]:
    """The batches measured so far; of a batch measured twice the last."""
    rows = {}
    for line in path.read_text("utf-8").splitlines() if path.exists() else ():
        facts = json.loads(line)
        stages = {name: (count, time) for name, (count, time) in facts["stages"].items()}
        row = MetricResults(**{**facts, "setup": Setup(**facts["setup"]), "stages": stages})
        rows[row.setup] = row
    return rows


HEAD = """
| device | cases | worker | jobs | wall, s | own compute, s | wall / compute \
| a job besides, s | of which Snakemake, s | processor time besides, s | load before |
|---|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|"""


def compute_of(row: MetricResults, rows: dict[Setup, MetricResults]) -> float | None:
    """Seconds a batch's stages take: its own with a worker, else as they took with one.

    A stage that runs by itself reads weights and imports, which is what the worker is to save.
    """
    if row.setup.way == "auto":
        return sum(seconds for _, seconds in row.stages.values())
    means = {}
    for other in sorted(rows.values(), key=lambda other: other.jobs):
        if other.setup.way == "auto" and replace(other.setup, cases=0) == replace(
            row.setup, cases=0, way="auto"
        ):
            means.update({name: time / count for name, (count, time) in other.stages.items()})
    if not row.stages.keys() <= means.keys():
        return None
    return sum(count * means[name] for name, (count, _) in row.stages.items())


def table(rows: dict[Setup, MetricResults]) -> str:
    """All batches in Markdown; one that was stopped has both numbers of its jobs."""
    lines = [HEAD]
    for setup, row in sorted(rows.items(), key=lambda item: _order(item[0])):
        threads = f", {setup.threads} threads" if setup.threads != "auto" else ""
        jobs = f"{row.jobs}" if row.whole else f"{row.jobs} of {row.planned}"
        compute = compute_of(row, rows)
        if compute is None:
            shares = "| – | – | –"
        else:
            besides = row.a_job(row.seconds - compute)
            shares = f"| {compute:.1f} | {row.seconds / compute:.2f} | {besides:.2f}"
        lines.append(
            f"| {setup.device}{threads} | {setup.cases} | {setup.way} | {jobs} "
            f"| {row.seconds:.1f} {shares} | {row.a_job(row.seconds - row.in_jobs):.2f} "
            f"| {row.a_job(row.processor):.2f} | {row.load:.1f} |"
        )
    return "\n".join(lines)


def _order(setup: Setup) -> tuple[str, str, str, int, str]:
    return setup.model, setup.device, setup.threads, setup.cases, setup.way


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cases", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--ways", choices=WAYS, nargs="+", default=list(WAYS))
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--model-dir", type=Path, help="folder of converted weights")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", default="auto")
    parser.add_argument("--embedding", type=int, default=10, help="iterations of stage 2")
    parser.add_argument("--lora", type=int, default=50, help="iterations of stage 3")
    parser.add_argument("--minutes", type=float, default=600.0, help="for all of it")
    parser.add_argument("--save", type=Path, help="file of the batches measured so far")
    given = parser.parse_args()
    until = time.monotonic() + 60 * given.minutes
    with tempfile.TemporaryDirectory() as scratch:
        save = given.save or Path(scratch) / "rows.jsonl"
        for way in given.ways:
            for cases in given.cases:
                setup = Setup(
                    cases=cases,
                    way=way,
                    model=given.model,
                    device=given.device,
                    threads=given.threads,
                    embedding=given.embedding,
                    lora=given.lora,
                    model_dir=given.model_dir and str(given.model_dir.resolve()),
                )
                known = read_rows(save).get(setup)
                if (known is not None and known.whole) or time.monotonic() > until:
                    continue
                folder = Path(scratch) / f"{cases} {way}"
                row = measure(setup, folder, until)
                with save.open("a", encoding="utf-8") as rows:
                    rows.write(json.dumps(asdict(row)) + "\n")
                print(table(read_rows(save)), flush=True)
                for stage, (count, seconds) in sorted(row.stages.items()):
                    print(f"  {stage}: {count} × {seconds / count:.2f} s", flush=True)


if __name__ == "__main__":
    main()
