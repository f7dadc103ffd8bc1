"""The workflow with workers: the same results, one load a model, one job a card."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from tests.workflow.project import BARE, Project

pytestmark = pytest.mark.slow

Use = dict[str, list[tuple[float, float]]]


def logs(project: Project) -> str:
    paths = project.folder.glob("results/*/logs/**/*.log")
    return "".join(path.read_text("utf-8") for path in paths)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project.create(tmp_path / "project", overrides={"user": BARE})
    project.add_case("user", mask=True)
    project.add_case("word", target_word="dog")
    return project


def test_a_batch_reads_each_model_once_and_draws_the_same(project: Project, tmp_path: Path) -> None:
    alone = project.copy(tmp_path / "alone")
    project.run()
    alone.run("--config", "worker=off")
    said = logs(project)
    assert said.count(": read,") == 3, "text encoder, tokenizer and transformer, for two cases"
    assert "by itself" not in said
    assert ": read," not in logs(alone)
    assert project.made() == alone.made()


def test_two_slots_of_a_cpu_have_a_worker_each(project: Project) -> None:
    project.run("--resources", "gpu=2", "--until", "image_features", "text_features")
    said = logs(project)
    assert 2 < said.count(": read,") <= 4, "two workers, which share no models"
    assert "by itself" not in said


def test_a_longer_training_makes_only_what_is_new_and_equals_a_straight_one(tmp_path: Path) -> None:
    settings = {**BARE, "train_lora": 1, "use_lora": 1}
    project = Project.create(tmp_path / "p", **settings, train_lora_iter=4)
    project.add_case("a")
    straight = project.copy(tmp_path / "straight")
    adapter = "results/a/lora/embedding0/iter8"
    project.run()
    project.configure(**settings, train_lora_iter=8)
    trained = {job for job in project.run().jobs if "/lora/" in job}
    assert trained == {"a/lora/embedding0/iter6", "a/lora/embedding0/iter8"}
    straight.configure(**settings, train_lora_iter=8, checkpoint_every=8)
    straight.run(f"{adapter}/adapter_model.safetensors")
    for name in ("adapter_model.safetensors", "adapter_config.json", "state.safetensors"):
        one, other = (place.folder / adapter / name for place in (project, straight))
        assert one.read_bytes() == other.read_bytes(), name


SPY = """

_stage = extract_image_features


def extract_image_features(**arguments):
    import os, time
    begin = time.time()
    time.sleep({seconds})
    _stage(**arguments)
    line = "%s %f %f" % (os.environ["CUDA_VISIBLE_DEVICES"], begin, time.time())
    open("{folder}/%d-%f" % (os.getpid(), begin), "w").write(line)
"""
"""Put behind a stage: says on which card it ran, from when to when."""


def use_of_cards(tmp_path: Path, cards: str, *, seconds: float, **settings: object) -> Use:
    """Encode four pictures, four jobs at once, on cards that are only names: no job finds one
    behind them, and all use the CPU after all.

    Returns:
        card → the times it was used.
    """
    project = Project.create(tmp_path / "project", device="auto", **settings)
    for number in range(4):
        project.add_case(f"case {number}")
    trace = tmp_path / "trace"
    trace.mkdir()
    stage = project.folder / "editinfinity" / "stages" / "image_features.py"
    spy = SPY.format(seconds=seconds, folder=trace)
    stage.write_text(stage.read_text("utf-8") + spy, encoding="utf-8")
    wanted = [f"results/case {number}/features/image.safetensors" for number in range(4)]
    slots = ("--cores", "4", "--resources", "gpu=4")
    # A place of its own for the locks: tests beside this one use cards of the same names.
    with tempfile.TemporaryDirectory(dir="/tmp") as runtime:
        env = {"CUDA_VISIBLE_DEVICES": cards, "XDG_RUNTIME_DIR": runtime}
        project.run(*slots, "--", *wanted, env=env)
    used: Use = {}
    for path in trace.iterdir():
        card, begin, end = path.read_text("utf-8").split()
        used.setdefault(card, []).append((float(begin), float(end)))
    return used


@pytest.mark.parametrize("worker", ["auto", "off"])
def test_four_jobs_at_once_have_four_cards(tmp_path: Path, worker: str) -> None:
    left = "2,GPU-33333333-aa,5,MIG-7"  # as SLURM or a person leaves it to the run
    used = use_of_cards(tmp_path, left, seconds=4, worker=worker)
    assert {card: len(times) for card, times in used.items()} == dict.fromkeys(left.split(","), 1)
    times = [times[0] for times in used.values()]
    assert max(begin for begin, _ in times) < min(end for _, end in times), "all at the same time"


@pytest.mark.parametrize("worker", ["auto", "off"])
def test_more_jobs_than_cards_wait_for_one(tmp_path: Path, worker: str) -> None:
    used = use_of_cards(tmp_path, "0,1", seconds=0.3, worker=worker)
    assert used.keys() == {"0", "1"}
    assert sum(map(len, used.values())) == 4
    for times in used.values():
        ends = [end for _, end in sorted(times)][:-1]
        begins = [begin for begin, _ in sorted(times)][1:]
        assert all(end <= begin for end, begin in zip(ends, begins, strict=True))
