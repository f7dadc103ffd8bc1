"""The workflow with workers: the same results, one load a model, one job a card."""

from __future__ import annotations

import itertools
import re
import tempfile
from pathlib import Path

import pytest

from editinfinity.jobs.record import DONE, Code, Iteration, ResourceUsage, read_records, record_path
from editinfinity.jobs.stage_version import stage_of
from editinfinity.stages.calls import MODEL_STAGES
from tests.jobs.test_record import require_schema
from tests.workflow.project import BARE, Project

pytestmark = pytest.mark.slow


def logs(project: Project) -> str:
    paths = project.folder.glob("results/*/logs/**/*.log")
    return "".join(path.read_text("utf-8") for path in paths)


def test_a_batch_reads_each_model_once_and_makes_the_same_as_without_workers(
    tmp_path: Path,
) -> None:
    """Also where one trains its LoRA in two jobs, and the other in one; with one core, a photograph
    is finished before the next one begins."""
    usual = {"train_lora_iter": 4, "overrides": {"user": BARE}}
    project = Project.create(tmp_path / "project", **usual)
    project.add_case("user", mask=True)
    project.add_case("word", target_word="dog")
    alone = project.copy(tmp_path / "alone")
    done = project.run("--cores", "1")
    began = re.findall(r"^Job \d+: (user|word): ", done.stderr, re.MULTILINE)
    assert len(began) > 20 and len(list(itertools.groupby(began))) == 2, "one after the other"
    said = logs(project)
    assert said.count(": read ") == 3, "text encoder, tokenizer and transformer, for two cases"
    assert "by itself" not in said
    assert said.count("lora/embedding2/iter2 in memory") == 1

    alone.configure(**usual, checkpoint_every=4, worker="off", cases=["word"])
    assert alone.run().rules["train_lora"] == 1
    assert ": read " not in logs(alone)
    warm, cold = (
        {name: content for name, content in place.made().items() if name.startswith("word/")}
        for place in (project, alone)
    )
    for place in (project, alone):
        records = read_records(place.folder / "results" / "word" / "logs")
        logs_of = sorted(place.folder.glob("results/word/logs/**/*.log"))
        assert sorted(place.folder / record.log for record in records) == logs_of
        for record in records:
            require_schema(record_path(record.log))
            assert record.outcome is not None and record.outcome.state == DONE
            code = record.last(Code)
            assert code is not None and not code.changed
            runs_a_model = stage_of(code.rule) in MODEL_STAGES
            assert len(record.all(ResourceUsage)) == runs_a_model
        (last,) = [r.last(Iteration) for r in records if r.job == "lora/embedding2/iter4"]
        assert last is not None and (last.number, last.last) == (4, 4)
    assert all("/lora/embedding2/iter2/" in name for name in warm.keys() ^ cold.keys())
    for name, content in cold.items():
        # Losses are of a job's own iterations.
        assert content == warm[name] or name.endswith("/lora/embedding2/iter4/losses.tsv"), name


SLOW_STAGE = """
import time

_extract = extract_image_features

def extract_image_features(**given):
    time.sleep(3)
    _extract(**given)
"""
"""At the end of a stage's module: takes so long that two jobs run side by side."""


def test_two_slots_of_a_cpu_have_a_worker_each(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "project", **BARE)
    for name in ("one", "two"):
        project.add_case(name)
    with (project.folder / "editinfinity" / "stages" / "image_features.py").open("a") as stage:
        stage.write(SLOW_STAGE)
    project.run("--resources", "gpu=2", "--until", "image_features")
    said = logs(project)
    assert said.count("load_tokenizer: read ") == 2, "two workers, which share no models"
    assert "by itself" not in said


def test_the_next_job_waits_with_its_process_ready(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "project", **BARE)
    for name in ("one", "two"):
        project.add_case(name)
    project.run("--cores", "2", "--resources", "gpu=1", "--until", "image_features")
    said = logs(project)
    assert said.count("waiting until one of 1 slots is free") == 1
    assert said.count("load_tokenizer: read ") == 1, "one worker, which serves one after the other"


def test_jobs_that_wait_are_not_selected_from_again_and_again(tmp_path: Path) -> None:
    """Snakemake's limit of jobs a second would do so every second, once more for each job done."""
    project = Project.create(tmp_path / "project", **BARE)
    for name in ("one", "two", "three"):
        project.add_case(name)
    with (project.folder / "editinfinity" / "stages" / "image_features.py").open("a") as stage:
        stage.write(SLOW_STAGE)
    run = project.run("--verbose", "--until", "image_features")
    jobs = sum(run.rules.values())
    # At most at the start and when a job has ended, some of which end at the same time.
    assert 0 < (run.stdout + run.stderr).count("Selected jobs: ") <= jobs + 1


STAGE = """
def extract_image_features(*, output, **_):
    import os, time
    begin = time.time()
    time.sleep(4)
    output.write_bytes(b"features")
    line = "%s %f %f" % (os.environ["CUDA_VISIBLE_DEVICES"], begin, time.time())
    open("{folder}/%d-%f" % (os.getpid(), begin), "w").write(line)
"""
"""In the place of a stage: says on which card it ran, from when to when."""


@pytest.mark.parametrize("worker", ["auto", "off"])
def test_jobs_at_once_have_a_card_each_and_more_than_there_are_wait_for_one(
    tmp_path: Path, worker: str
) -> None:
    """Cards that are only names: no job finds one behind them."""
    left = "2,GPU-33333333-aa,MIG-7"  # as SLURM or a person leaves it to the run
    project = Project.create(tmp_path / "project", device="auto", worker=worker)
    names = [f"case {number}" for number in range(4)]
    for name in names:
        project.add_case(name)
    trace = tmp_path / "trace"
    trace.mkdir()
    stage = project.folder / "editinfinity" / "stages" / "image_features.py"
    stage.write_text(STAGE.format(folder=trace), encoding="utf-8")
    wanted = [f"results/{name}/features/image.safetensors" for name in names]
    # A place of its own for the locks: tests beside this one use cards of the same names.
    with tempfile.TemporaryDirectory(dir="/tmp") as runtime:
        env = {"CUDA_VISIBLE_DEVICES": left, "XDG_RUNTIME_DIR": runtime}
        project.run("--cores", "4", "--resources", "gpu=4", "--", *wanted, env=env)
    used: dict[str, list[tuple[float, float]]] = {}
    for path in trace.iterdir():
        card, begin, end = path.read_text("utf-8").split()
        used.setdefault(card, []).append((float(begin), float(end)))
    assert used.keys() == set(left.split(","))
    times = sorted(time for card in used.values() for time in card)
    assert len(times) == len(names)
    first = times[: len(used)]
    assert max(begin for begin, _ in first) < min(end for _, end in first), "all at the same time"
    for card in used.values():
        for (_, end), (begin, _) in itertools.pairwise(sorted(card)):
            assert end <= begin, "two jobs on a card"
