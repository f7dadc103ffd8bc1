"""A small project that tests run with Snakemake for real, on the random model ``tiny``."""

from __future__ import annotations

import base64
import csv
import fcntl
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

ROOT = Path(__file__).parents[2]
CARRIED = ("Snakefile", "rules", "scripts", "envs", "profiles", "schemas", "editinfinity")

SETTINGS = {
    "cases": None,
    "model": "tiny",
    "device": "cpu",
    "threads": 1,
    "train_textembedding_iter": 2,
    "train_lora_iter": 2,
    "checkpoint_every": 2,
    "cfg": 4.5,
    "metrics": 0,
}
"""config.yaml of the project: the least training there can be."""

BARE = {
    "train_textembedding": 0,
    "use_textembedding": 0,
    "use_concat_embedding": 0,
    "train_lora": 0,
    "use_lora": 0,
}
"""Further settings: draws with the bare model, the shortest way to a picture."""


@dataclass(frozen=True)
class Run:
    """What one call of Snakemake did.

    Attributes:
        jobs: what ran, as ``CASE/stage`` with the job's other wildcards.
        rules: how many jobs of each rule ran.
        status: exit status.
        stdout, stderr: what it said.
    """

    jobs: frozenset[str]
    rules: Counter[str]
    status: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Planned:
    """A job of a plan.

    Attributes:
        rule: its rule.
        pending: whether a run would do it.
    """

    rule: str
    pending: bool


@dataclass(frozen=True)
class Plan:
    """What a run would do.

    Attributes:
        jobs: (case, job) → the job; it is named as ``Run.jobs`` names it, after the case.
        stderr: what Snakemake said.
    """

    jobs: dict[tuple[str, str], Planned]
    stderr: str

    def pending(self, case: str) -> set[str]:
        """The jobs of a case that a run would do."""
        return {job for (of, job), planned in self.jobs.items() if of == case and planned.pending}

    def pending_rules(self, case: str) -> set[str]:
        """Their rules."""
        jobs = self.pending(case)
        return {planned.rule for (of, job), planned in self.jobs.items()
                if of == case and job in jobs}  # fmt: skip


class Project:
    """A folder with workflow, configuration and cases."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def create(cls, folder: Path, **settings: Any) -> Project:
        """Lay a copy of the workflow into a new folder."""
        folder.mkdir(parents=True)
        for name in CARRIED:
            source = ROOT / name
            if source.is_dir():
                ignored = shutil.ignore_patterns("weights")
                shutil.copytree(source, folder / name, ignore=ignored)
            else:
                shutil.copy2(source, folder / name)
        project = cls(folder)
        project.configure(**settings)
        return project

    def copy(self, folder: Path) -> Project:
        """The project with its results, at the same times of modification."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Project(folder)

    def configure(self, **settings: Any) -> None:
        """Write config.yaml: the usual settings but for these."""
        content = yaml.safe_dump({**SETTINGS, **settings}, allow_unicode=True)
        (self.folder / "config.yaml").write_text(content, encoding="utf-8")

    def add_case(
        self, name: str, *, mask: bool = False, target_word: str | None = None, **edits: str
    ) -> Path:
        """A case of one photograph; further edits by name → prompt."""
        folder = self.folder / "data" / name
        draw_image(folder / "image" / "original_image.jpg", seed=len(name))
        if mask:
            draw_mask(folder / "image" / "mask.png", side=24)
        write(folder / "prompt" / "original_image_prompt.txt", "a dog on a hill")
        write(folder / "prompt" / "edit_image_prompt.txt", "a cat on a hill")
        for edit, prompt in edits.items():
            write(folder / "prompt" / f"edit_image_prompt.{edit}.txt", prompt)
        if target_word:
            write(folder / "prompt" / "target_word.txt", target_word)
        return folder

    def made(self) -> dict[str, bytes]:
        """What runs have made, by path below results, without what tells times."""
        results, times = self.folder / "results", {"logs", "benchmark", "report.html"}
        return {
            str(path.relative_to(results)): path.read_bytes()
            for path in sorted(results.rglob("*"))
            if path.is_file() and not times & set(path.relative_to(results).parts)
        }

    def call(
        self, *arguments: str, status: int | None = 0, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Call Snakemake; fails unless it ends with ``status`` (None accepts any)."""
        done = subprocess.run(
            [sys.executable, "-m", "snakemake", "--cores", "2", *arguments],
            cwd=self.folder,
            text=True,
            capture_output=True,
            env={**os.environ, **(env or {})},
        )
        assert status is None or done.returncode == status, done.stdout + done.stderr
        return done

    def run(
        self, *arguments: str, status: int | None = 0, env: dict[str, str] | None = None
    ) -> Run:
        """Run Snakemake; fails unless it ends with ``status`` (None accepts any)."""
        before = self._benchmarks()
        done = self.call(*arguments, status=status, env=env)
        after = self._benchmarks()
        jobs = frozenset(job for job, time in after.items() if before.get(job) != time)
        rules = Counter(re.findall(r"Finished jobid: \d+ \(Rule: (\w+)\)", done.stderr))
        del rules["all"], rules["tell"]  # which make nothing
        assert status != 0 or "-n" in arguments or rules.total() == len(jobs), done.stderr
        return Run(jobs, rules, done.returncode, done.stdout, done.stderr)

    def plan(self, *arguments: str) -> Plan:
        """What a run would do, job by job: one call of Snakemake however many cases there are."""
        done = self.call("--summary", *arguments)
        jobs: dict[tuple[str, str], Planned] = {}
        for row in csv.DictReader(io.StringIO(done.stdout), delimiter="\t"):
            job = job_of(row["rule"], row["output_file"])
            jobs[job] = Planned(row["rule"], row["plan"] != "no update")
        return Plan(jobs, done.stderr)

    def _benchmarks(self) -> dict[str, int]:
        """Job → when it last ran. Every job writes its benchmark, named by its wildcards."""
        results = self.folder / "results"
        return {
            "/".join(
                (
                    path.relative_to(results).parts[0],
                    *path.parts[path.parts.index("benchmark") + 1 :],
                )
            ).removesuffix(".tsv"): path.stat().st_mtime_ns
            for path in results.glob("*/benchmark/**/*.tsv")
        }


def job_of(rule: str, output: str) -> tuple[str, str]:
    """(case, job) that makes a file of the results; the job is named as its log is."""
    _, case, *folders, name = output.split("/")
    stem = name.rpartition(".")[0]
    match rule:
        case "check" | "jsonl" | "image_features" | "rendering":
            return case, rule
        case "text_features" | "edit_text_features":
            return case, "/".join([*folders, f"{stem}_features"]).removeprefix("features/")
        case "finish" | "select":
            return case, f"edit/{stem.removesuffix('.selection')}/{rule}"
        case "train_textembedding":
            return case, f"text_embedding/{name.partition('.')[0]}"
        case "train_lora":
            return case, "/".join(folders)
        case "attention_map":
            return case, "/".join([*folders, "attention_map"])
        case "mask_pictures":
            return case, "/".join([*folders, "pictures"])
    return case, "/".join([*folders, stem])  # kernel, edit, metrics


def write(path: Path, text: str) -> None:
    """Write a text and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n", encoding="utf-8")


def draw_image(path: Path, seed: int, size: tuple[int, int] = (80, 64)) -> None:
    """A picture of nothing, (width, height) = ``size``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(noise).resize(size).save(path, quality=90)


def draw_mask(path: Path, side: int, size: tuple[int, int] = (80, 64)) -> None:
    """White, with a black square, the edited side, in the middle."""
    pixels = np.full((size[1], size[0]), 255, np.uint8)
    top, left = (size[1] - side) // 2, (size[0] - side) // 2
    pixels[top : top + side, left : left + side] = 0
    Image.fromarray(pixels).save(path)


def shared_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str, name: str) -> Path:
    """A folder that all workers of pytest-xdist have in common."""
    base = tmp_path_factory.getbasetemp()
    return (base if worker_id == "master" else base.parent) / name


def made_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """A folder that the first of all workers makes."""
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            making = folder.with_suffix(".making")
            shutil.rmtree(making, ignore_errors=True)
            make(making)
            making.rename(folder)
    return folder


def files_of_records(project: Project, case: str) -> dict[str, Path]:
    """What Snakemake keeps of the outputs of a case: output → file of its record."""
    folder = project.folder / ".snakemake" / "metadata"
    found = {}
    for path in folder.rglob("*"):
        # A long name is spread over folders.
        parts = (part.removeprefix("@") for part in path.relative_to(folder).parts)
        if path.is_file():
            output = base64.urlsafe_b64decode("".join(parts)).decode()
            if output.startswith(f"results/{case}/"):
                found[output] = path
    return found


def records_of(project: Project, case: str) -> dict[str, dict[str, Any]]:
    """The records of a case's outputs."""
    files = files_of_records(project, case)
    return {output: json.loads(path.read_text("utf-8")) for output, path in files.items()}


def take_as_finished(project: Project, base: str, copy: str) -> None:
    """Have Snakemake know the results of a case's copy as those of the case."""
    folder = project.folder / ".snakemake" / "metadata"
    longest = os.pathconf(folder, "PC_NAME_MAX") - 1
    for output, record in records_of(project, base).items():
        text = json.dumps(record, ensure_ascii=False)
        for above in ("data", "results"):
            text = text.replace(f"{above}/{base}/", f"{above}/{copy}/")
        name = output.replace(f"results/{base}/", f"results/{copy}/", 1).encode()
        encoded = base64.urlsafe_b64encode(name).decode()
        *above, last = (encoded[i : i + longest] for i in range(0, len(encoded), longest))
        path = folder.joinpath(*(f"@{part}" for part in above), last)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
