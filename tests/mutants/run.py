"""Run the fast tests on small faults put into the core, and list those that no test notices.

    make mutants
    .venv/bin/python -m tests.mutants.run --sample 300 --seed 1 --workers 2

The second command needs the packages of requirements.txt in the folder .mutants.

Each mutant is run in a fork of a process that has imported the libraries and nothing of this
project. It gets its changed source by an import hook, so no file is changed and several may run at
once.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import importlib.abc
import importlib.util
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.mutants.sampling import Mutant

ROOT = Path(__file__).resolve().parents[2]

TESTS: dict[str, tuple[str, ...]] = {
    "editing/aredit.py": ("editing/test_aredit.py", "method/test_approach.py"),
    "editing/attention_map.py": ("editing/test_prompt_map.py", "method/test_attention.py"),
    "editing/bitresedit.py": ("editing/test_bitresedit.py", "method/test_approach.py"),
    "editing/blend.py": ("editing/test_sampler.py", "method/test_approach.py"),
    "editing/blend_mask.py": ("editing/test_blend_mask.py",),
    "editing/editmod.py": ("editing/test_editmod.py", "method/test_approach.py"),
    "editing/guidance.py": ("editing/test_guidance.py", "method/test_approach.py"),
    "editing/probabilities.py": ("editing/test_aredit.py", "method/test_approach.py"),
    "editing/prompt_map.py": ("editing/test_prompt_map.py", "method/test_prompt_map.py"),
    "editing/prompt_region.py": ("editing/test_prompt_region.py",),
    "editing/sampler.py": ("editing/test_sampler.py", "editing/test_guidance.py"),
    "inversion/gradient_checkpointing.py": ("inversion/test_recomputing.py",),
    "inversion/lora.py": ("inversion/test_training.py",),
    "inversion/recorded_iterations.py": ("inversion/test_recorded_iterations.py",),
    "inversion/teacher_forcing.py": ("inversion/test_training.py", "method/test_invert.py"),
    "inversion/training.py": ("inversion/test_training.py", "method/test_invert.py"),
    "method/approach.py": ("method/test_approach.py",),
    "method/attention.py": ("method/test_attention.py",),
    "method/composite.py": ("method/test_composite.py",),
    "method/draw.py": ("method/test_draw.py", "method/test_approach.py"),
    "method/encode.py": ("method/test_encode.py",),
    "method/invert.py": ("method/test_invert.py",),
    "method/locate.py": ("method/test_locate.py",),
    "method/memory.py": ("method/test_memory.py",),
    "method/place.py": ("method/test_place.py", "test_pipeline.py"),
    "method/prompt.py": ("method/test_encode.py",),
    "method/prompt_changes.py": ("method/test_prompt_changes.py",),
    "method/prompt_map.py": ("method/test_prompt_map.py",),
    "method/rendering.py": ("method/test_encode.py",),
    "files/cropping.py": ("files/test_seam_and_crop.py",),
    "files/seam.py": ("files/test_seam_and_crop.py",),
    "models/bsq.py": ("models/test_bsq.py", "inversion/test_training.py"),
    "models/drop_path.py": ("models/test_drop_path.py",),
    "models/fp8.py": ("models/test_fp8.py",),
}
"""Module in ``editinfinity/`` → the files in ``tests/`` that run on its mutants, in this order."""

LIBRARIES = ("numpy", "PIL.Image", "yaml", "scipy.ndimage", "safetensors.torch", "torch",
             "torch._dynamo", "torch.optim", "torch.utils.checkpoint", "triton.runtime.interpreter",
             "transformers", "peft", "hypothesis", "pytest")  # fmt: skip

EXPLAINED = Path(__file__).with_name("survivors.tsv")
"""Mutants that no test can or need notice: module, line before, line after, reason."""

SECONDS = 180
"""Longest run of a mutant's tests; a mutant that never ends counts as noticed."""

PROGRESS = 25
"""Number of mutants after which the counts are printed again."""


class MutatedSource(importlib.abc.MetaPathFinder, importlib.abc.SourceLoader):
    """Finds and loads one module of the project from a changed source."""

    def __init__(self, path: str, source: str) -> None:
        self.name = path.removesuffix(".py").replace("/", ".")
        self.path, self.source = str(ROOT / path), source

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name != self.name:
            return None
        return importlib.util.spec_from_file_location(name, self.path, loader=self)

    def get_filename(self, name: str) -> str:
        return self.path

    def get_data(self, path: str) -> bytes:
        if path != self.path:  # compiled code, which is that of the unchanged source
            raise OSError(path)
        return self.source.encode()


@dataclass
class Run:
    """The tests of one mutant, running in a process."""

    label: str
    started: float
    output: Path


def tests_of(path: str) -> list[str]:
    """Return the test files of a module."""
    return [f"tests/{name}" for name in TESTS[path.removeprefix("editinfinity/")]]


def start(tests: Sequence[str], output: Path, finder: MutatedSource | None) -> int:
    """Run tests in a fork, with a changed source if one is given; return the process's id."""
    if pid := os.fork():
        return pid
    try:
        os.setpgid(0, 0)
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        if finder is not None:
            sys.meta_path.insert(0, finder)
        import pytest

        # What pytest returns: 0 all passed, 1 some failed, 2 not importable, 4 and 5 no such tests.
        options = ["-x", "-q", "-m", "not slow", "-p", "no:cacheprovider", "-p", "no:xdist"]
        code = int(pytest.main([*options, *tests]))
    except BaseException:
        code = 2
    os._exit(code)


def results(jobs: Iterator[tuple[str, list[str], MutatedSource | None]], workers: int, folder: Path
            ) -> Iterator[tuple[str, str, Path]]:  # fmt: skip
    """Run jobs (label, tests, changed source) in parallel; yield label, outcome and output."""
    running: dict[int, Run] = {}
    waiting = enumerate(jobs)
    more = True
    try:
        while more or running:
            while more and len(running) < workers:
                if (following := next(waiting, None)) is None:
                    more = False
                    break
                number, (label, tests, finder) = following
                output = folder / f"{number}.txt"
                running[start(tests, output, finder)] = Run(label, time.monotonic(), output)
            for pid, run in list(running.items()):
                if (outcome := _outcome(pid, run)) is not None:
                    del running[pid]
                    yield run.label, outcome, run.output
            time.sleep(0.02)
    finally:
        for pid in running:
            _kill(pid)


def _outcome(pid: int, run: Run) -> str | None:
    """Return how a run ended, or None if it has not; end one that takes too long."""
    ended, status = os.waitpid(pid, os.WNOHANG)
    if ended:
        code = os.waitstatus_to_exitcode(status)
        return {0: "survived", 4: "not run", 5: "not run"}.get(code, "killed")
    if time.monotonic() - run.started > SECONDS:
        _kill(pid)
        return "timeout"
    return None


def _kill(pid: int) -> None:
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def main() -> int:
    options = _options()
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    sys.path.append(str(options.packages))  # last, so that it replaces nothing of the environment
    from tests.mutants.sampling import sample  # now that its packages are found

    modules = [f"editinfinity/{name}" for name in TESTS]
    chosen = [path for path in modules if options.modules in path]
    mutants = sample(ROOT, chosen, options.sample, options.seed)
    print(f"{len(mutants)} mutants of {len(chosen)} modules", flush=True)
    _import_libraries()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as folder:
        paths = set() if options.unchecked else {mutant.path for mutant in mutants}
        unchanged = sorted({test for path in paths for test in tests_of(path)})
        for label, outcome, output in results(
            iter([(test, [test], None) for test in unchanged]), options.workers, Path(folder)
        ):
            if outcome != "survived":
                print(output.read_text(errors="replace")[-3000:])
                print(f"{label} fails without a fault")
                return 2
        try_all(mutants, options.workers, Path(folder), options.verbose)
    return 0


def try_all(mutants: Sequence[Mutant], workers: int, folder: Path, verbose: bool) -> None:
    """Run the tests of each mutant; print the survivors, and how many were noticed.

    The order is random, so that what has run when the time is up is a sample too.
    """
    explained, counts = _explained(), Counter[str]()
    order = random.Random(0).sample(range(len(mutants)), len(mutants))
    jobs = (
        (f"{n}", tests_of(mutants[n].path), MutatedSource(mutants[n].path, mutants[n].source))
        for n in order
    )
    try:
        for label, outcome, _ in results(jobs, workers, folder):
            mutant = mutants[int(label)]
            key = (mutant.path, mutant.before.strip(), mutant.after.strip())
            if outcome == "survived" and key in explained:
                outcome = "explained"
            counts[outcome] += 1
            if outcome != "killed" or verbose:
                print(f"{outcome}: {mutant}", flush=True)
            if counts.total() % PROGRESS == 0 and counts.total() < len(mutants):
                print(f"{counts.total()} of {len(mutants)}: {_summary(counts)}", flush=True)
    except KeyboardInterrupt:
        print(f"stopped after {counts.total()} of {len(mutants)}")
    print(_summary(counts))


def _summary(counts: Counter[str]) -> str:
    noticed = counts["killed"] + counts["timeout"]
    each = ", ".join(f"{number} {outcome}" for outcome, number in counts.most_common())
    return f"{each}; {100 * noticed / max(1, counts.total()):.1f} % are noticed"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sample", type=int, default=300, help="number of mutants")
    parser.add_argument("--seed", type=int, default=1, help="decides which mutants")
    parser.add_argument("--workers", type=int, default=2, help="number that run at once")
    parser.add_argument("--modules", default="", help="only modules whose path has this text")
    parser.add_argument(
        "--packages", type=Path, default=ROOT / ".mutants", help="cosmic-ray's folder"
    )
    parser.add_argument(
        "--unchecked", action="store_true", help="do not run the tests without a fault first"
    )
    parser.add_argument("--verbose", action="store_true", help="list noticed mutants too")
    return parser.parse_args()


def _import_libraries() -> None:
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the tests are those for a CPU
    os.environ["TRITON_INTERPRET"] = "1"
    os.environ["OMP_NUM_THREADS"] = "1"
    for name in LIBRARIES:
        if importlib.util.find_spec(name.split(".")[0]) is not None:
            importlib.import_module(name)
    import hypothesis
    import torch

    # The same examples for every mutant; one that fails is enough, however large.
    phases = [phase for phase in hypothesis.Phase if phase.name in {"explicit", "generate"}]
    hypothesis.settings.register_profile("mutants", phases=phases, derandomize=True, database=None)
    hypothesis.settings.load_profile("mutants")
    torch.set_num_threads(1)  # a fork has none of its parent's threads
    gc.freeze()


def _explained() -> set[tuple[str, str, str]]:
    lines = EXPLAINED.read_text(encoding="utf-8").splitlines()[1:] if EXPLAINED.exists() else []
    return {(module, before, after) for module, before, after, _ in (x.split("\t") for x in lines)}


if __name__ == "__main__":
    sys.exit(main())
