"""The rerun contract of design document "workflow", row by row.

Each row changes one thing in a finished project and really runs Snakemake, asserting exactly which
jobs ran. The project is made and run once, and copied for every row.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

import pytest

from tests.workflow.project import Project, draw_image, draw_mask, write

USER, WORD = "été 1", "b.2"
"""A case with the user's mask, and one with an automatic mask and two edits."""

NAME = "embedding2-lora2-cfg4.5-tau0.5-seed42"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Project:
    """A project whose run is over, shared by all workers of pytest-xdist."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "finished"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():
            return Project(folder)
        making = folder.with_suffix(".making")
        shutil.rmtree(making, ignore_errors=True)
        project = Project.create(making)
        project.add_case(USER, mask=True)
        project.add_case(WORD, target_word="dog", **{"red hat": "a dog with a red hat"})
        run = project.run()
        assert run.jobs == everything_of(USER) | everything_of(WORD)
        making.rename(folder)
        return Project(folder)


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Project:
    return finished.copy(tmp_path / "project")


def placed(case: str, edit: str) -> set[str]:
    """What a mask becomes."""
    return {f"{case}/mask/{edit}/{job}" for job in ("pictures", "kernel-linear")}


def everything_of(case: str) -> set[str]:
    jobs = {"check", "jsonl", "image_features", "text_features"}
    jobs |= {"text_embedding/iter2", "lora/embedding2/iter2"}
    for edit in ("edit",) if case == USER else ("edit", "red hat"):
        jobs |= {f"edit/{edit}/text_features", f"mask/{edit}/kernel-linear"}
        jobs |= {f"mask/{edit}/pictures"}
        jobs |= {f"edit/{edit}/{NAME}", f"edit/{edit}/finish"}
        jobs |= {f"mask/{edit}/attention_map"} if case == WORD else set()
    return {f"{case}/{job}" for job in jobs}


def drawn(case: str, *edits: str, name: str = NAME) -> set[str]:
    """The jobs ``edit`` and ``finish``."""
    return {f"{case}/edit/{edit}/{job}" for edit in edits for job in (name, "finish")}


def of_user(project: Project, **settings: object) -> None:
    """Settings of the case USER only, so that a row also shows that the other case rests."""
    project.configure(overrides={USER: settings})


def assert_settled(project: Project) -> None:
    again = project.run()
    assert "Nothing to be done" in again.stderr
    assert not again.jobs


def test_nothing_and_touched_files_rerun_nothing(project: Project) -> None:
    assert_settled(project)
    for path in project.folder.rglob("*"):
        if path.is_file() and ".snakemake" not in path.parts:
            os.utime(path)
    assert_settled(project)


SAMPLING = {
    "seed": (7, NAME.replace("seed42", "seed7")),
    "cfg": (3, NAME.replace("cfg4.5", "cfg3")),
    "tau": (0.25, NAME.replace("tau0.5", "tau0.25")),
    "top_k": (800, NAME),
    "top_p": (0.9, NAME),
}


@pytest.mark.parametrize("key", SAMPLING)
def test_sampling_reruns_edit_and_finish(project: Project, key: str) -> None:
    value, name = SAMPLING[key]
    of_user(project, **{key: value})
    assert project.run().jobs == drawn(USER, "edit", name=name)


def test_edit_prompt(project: Project) -> None:
    prompt = project.folder / "data" / WORD / "prompt" / "edit_image_prompt.red hat.txt"
    write(prompt, "a dog with a green hat")
    assert project.run().jobs == drawn(WORD, "red hat") | {f"{WORD}/edit/red hat/text_features"}


def test_mask(project: Project) -> None:
    draw_mask(project.folder / "data" / USER / "image" / "mask.png", side=40)
    assert project.run().jobs == drawn(USER, "edit") | placed(USER, "edit")
    assert_settled(project)


@pytest.mark.parametrize(
    ("key", "value"), [("background", "decoded"), ("mask_feather", 3), ("gps", "drop")]
)
def test_what_only_concerns_the_photograph_reruns_finish(
    project: Project, key: str, value: object
) -> None:
    of_user(project, **{key: value})
    assert project.run().jobs == {f"{USER}/edit/edit/finish"}


@pytest.mark.parametrize(("key", "value"), [("guidance", "source_negative"), ("lock_scales", 2)])
def test_how_it_is_drawn_reruns_edit_and_finish(project: Project, key: str, value: object) -> None:
    of_user(project, **{key: value})
    assert project.run().jobs == drawn(USER, "edit")


def test_editing_without_training_trains_nothing(project: Project) -> None:
    of_user(project, method="training_free", train_seed=7)
    name = NAME.replace("embedding2-lora2", "embedding0-lora0")
    assert project.run().jobs == drawn(USER, "edit", name=name)
    assert_settled(project)


def test_mask_grow(project: Project) -> None:
    of_user(project, mask_grow=4)
    assert project.run().jobs == drawn(USER, "edit") | placed(USER, "edit")


def test_crop(project: Project) -> None:
    """A crop is learned anew; a mask that keeps the crop only reruns its edit."""
    image = project.folder / "data" / USER / "image"
    for name, draw in (("original_image.jpg", draw_image), ("mask.png", draw_mask)):
        draw(image / name, 24, size=(800, 640))
    project.run()
    of_user(project, crop="auto")
    spared = {f"{USER}/{job}" for job in ("check", "jsonl", "text_features")}
    spared |= {f"{USER}/edit/edit/text_features"}
    assert project.run().jobs == everything_of(USER) - spared

    draw_mask(image / "mask.png", side=28, size=(800, 640))
    assert project.run().jobs == drawn(USER, "edit") | placed(USER, "edit")
    assert_settled(project)


def test_smoothing(project: Project) -> None:
    of_user(project, smoothing="hard")
    assert project.run().jobs == drawn(USER, "edit") | {f"{USER}/mask/edit/kernel-hard"}


def test_the_pictures_of_a_mask_are_those_of_the_edit_that_is_there(project: Project) -> None:
    """Going back to a kernel that is there still, after another mask was looked at."""
    shown = project.folder / "results" / USER / "mask" / "edit" / "mask.png"
    first = shown.read_bytes()
    of_user(project, smoothing="hard", mask_grow=9)
    project.run()
    assert shown.read_bytes() != first
    of_user(project)
    assert f"{USER}/mask/edit/pictures" in project.run().jobs
    assert shown.read_bytes() == first


def test_more_iterations_train_only_what_is_new_and_old_ones_stay_usable(project: Project) -> None:
    of_user(project, train_lora_iter=6)
    longer = drawn(USER, "edit", name=NAME.replace("lora2", "lora6"))
    new = {f"{USER}/lora/embedding2/iter4", f"{USER}/lora/embedding2/iter6"}
    assert project.run().jobs == longer | new

    of_user(project, train_lora_iter=6, use_lora_iter=4)
    shorter = drawn(USER, "edit", name=NAME.replace("lora2", "lora4"))
    assert project.run().jobs == shorter

    # A checkpoint that is there serves without training, and no setting makes it anew.
    of_user(project, train_lora=0, train_lora_iter=6, use_lora_iter=4, lora_rank=2)
    assert_settled(project)


def test_lora_hyperparameters(project: Project) -> None:
    of_user(project, lora_dropout=0.2)
    assert project.run().jobs == drawn(USER, "edit") | {f"{USER}/lora/embedding2/iter2"}


TRAINED = {f"{USER}/text_embedding/iter2", f"{USER}/lora/embedding2/iter2"}


@pytest.mark.parametrize("key", ["train_seed", "embedding_learning_rate"])
def test_embedding_hyperparameters_and_train_seed(project: Project, key: str) -> None:
    of_user(project, **{key: 1})
    assert project.run().jobs == drawn(USER, "edit") | TRAINED


def test_source_prompt(project: Project) -> None:
    write(
        project.folder / "data" / WORD / "prompt" / "original_image_prompt.txt", "a dog in a field"
    )
    kept = {"check", "image_features", "edit/edit/text_features", "edit/red hat/text_features"}
    assert project.run().jobs == everything_of(WORD) - {f"{WORD}/{job}" for job in kept}


def test_target_word(project: Project) -> None:
    write(project.folder / "data" / WORD / "prompt" / "target_word.red hat.txt", "hill")
    masks = {f"{WORD}/mask/red hat/attention_map"} | placed(WORD, "red hat")
    assert project.run().jobs == drawn(WORD, "red hat") | masks


def test_image_even_by_an_older_file_and_outputs_hold_only_what_made_them(
    finished: Project, project: Project
) -> None:
    """Bytes behind a JPEG's end change the file and not the picture: all is made anew, the same."""
    path = project.folder / "data" / USER / "image" / "original_image.jpg"
    path.write_bytes(path.read_bytes() + b"\0")
    os.utime(path, (1_000_000_000, 1_000_000_000))
    assert project.run().jobs == everything_of(USER)

    folder, compared = project.folder / "results" / USER, 0
    for file in sorted(folder.rglob("*")):
        parts = file.relative_to(folder).parts
        if file.is_file() and parts[0] not in ("benchmark", "logs"):
            first = finished.folder / "results" / USER / Path(*parts)
            assert file.read_bytes() == first.read_bytes(), "/".join(parts)
            compared += 1
    assert compared >= 15
    assert_settled(project)


def test_another_edit_runs_alone(project: Project) -> None:
    write(project.folder / "data" / USER / "prompt" / "edit_image_prompt.ü 2.txt", "a goat")
    new = {f"{USER}/edit/ü 2/text_features"} | placed(USER, "ü 2")
    assert project.run().jobs == drawn(USER, "ü 2") | new


def test_another_case_runs_alone(project: Project) -> None:
    project.add_case("новый")
    neither = {
        f"{flow}_{what}": 0 for flow in ("train", "use") for what in ("textembedding", "lora")
    }
    project.configure(overrides={"новый": {**neither, "use_concat_embedding": 0}})
    name = NAME.replace("embedding2-lora2", "embedding0-lora0")
    new = {f"новый/{job}" for job in ("check", "image_features", "edit/edit/text_features")}
    assert project.run().jobs == drawn("новый", "edit", name=name) | new


def test_a_stages_code_reruns_it_and_what_follows(project: Project) -> None:
    path = project.folder / "editinfinity" / "stages" / "kernel.py"
    path.write_text("# a comment\n" + path.read_text("utf-8"), encoding="utf-8")
    assert_settled(project)
    path.write_text(path.read_text("utf-8") + "\n_NEW = 1\n", encoding="utf-8")
    kernels = {f"{USER}/mask/edit/kernel-linear"}
    kernels |= {f"{WORD}/mask/{edit}/kernel-linear" for edit in ("edit", "red hat")}
    assert project.run().jobs == drawn(USER, "edit") | drawn(WORD, "edit", "red hat") | kernels
