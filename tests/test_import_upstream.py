"""``editinfinity import-upstream``, and the workflow that uses what it imports."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from editinfinity.cli.main import app
from editinfinity.errors import UserError
from editinfinity.files.checkpoints import Adapter, SoftPrompt
from editinfinity.planning.location import weight_files
from editinfinity.presets import preset
from editinfinity.settings.groups import ModelSettings, SamplingSettings
from editinfinity.stages.edit import edit
from tests.released.upstream import (
    BLEND,
    EMBEDDING,
    LORA,
    SETTINGS,
    finished_folder,
    random_blend,
    random_embedding,
    random_lora,
    save,
)
from tests.workflow.project import BARE, ROOT, Project, draw_mask, write

TINY = preset("tiny")
DRAWING = "embedding9-lora49-cfg4.5-tau0.5-seed42"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a configuration for ``tiny``, and a finished folder in original/."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "config.yaml").write_text("model: tiny # small\n")
    finished_folder(folder / "original" / "example_2", TINY)
    return folder


def command(*arguments: str) -> list[str]:
    """What the command says on stdout, line by line."""
    return call(*arguments).stdout.splitlines()


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["import-upstream", *arguments], catch_exceptions=False)


def refused(*arguments: str) -> str:
    with pytest.raises(UserError) as fault:
        command(*arguments)
    return str(fault.value)


def made(folder: Path) -> dict[str, bytes]:
    files = [path for name in ("data", "results") for path in (folder / name).rglob("*")]
    return {str(p.relative_to(folder)): p.read_bytes() for p in files if p.is_file()}


def test_a_finished_folder_becomes_a_case_with_checkpoints_and_settings(project: Path) -> None:
    told = command("original/example_2")
    assert told == [
        "data/example_2: iterations are named by the updates made, one less than the original's "
        "scripts say: embedding_it9.pth is iter9, lora_weight_10iter.pt is iter9, "
        "lora_weight_50iter.pt is iter49",
        "data/example_2/image/blend.npy: blends as the original did; delete it to use mask or word",
        "config.yaml: overrides: example_2: {method: inversion, attention_bias: 0, "
        "train_textembedding: 0, train_lora: 0, use_textembedding: 1, use_concat_embedding: 1, "
        "use_textembedding_iter: 9, use_embedding_iter: 9, use_lora: 1, use_lora_iter: 49}",
        "data/example_2: run it with: editinfinity run --config 'cases=[example_2]'",
    ]
    files = made(project)
    assert sorted(files) == [
        "data/example_2/image/blend.npy",
        "data/example_2/image/mask.png",
        "data/example_2/image/original_image.jpg",
        "data/example_2/prompt/edit_image_prompt.txt",
        "data/example_2/prompt/original_image_prompt.txt",
        *(
            f"results/example_2/lora/embedding9/iter{number}/adapter_{name}"
            for number in (49, 9)
            for name in ("config.json", "model.safetensors")
        ),
        "results/example_2/text_embedding/iter9.safetensors",
    ]
    text = (project / "config.yaml").read_text()
    assert text.startswith("model: tiny # small\n")
    assert yaml.safe_load(text) == {"model": "tiny", "overrides": {"example_2": SETTINGS}}
    results = project / "results" / "example_2"
    prompt = SoftPrompt.load(results / "text_embedding" / "iter9.safetensors", "tiny", 128)
    assert torch.equal(prompt.vectors, random_embedding(TINY)[0, :20]) and prompt.iteration == 9
    for number in (10, 50):
        folder = results / "lora" / "embedding9" / f"iter{number - 1}"
        name = "block_chunks.0.module.1.ffn.fc1.lora_A"
        weights = Adapter.load(folder).weights
        tensor = weights["base_model.model.blocks.1.ffn.fc1.lora_A.weight"]
        assert torch.equal(tensor.flatten(), random_lora(TINY, number)[name])
    blend = np.load(project / "data" / "example_2" / "image" / "blend.npy", allow_pickle=False)
    assert blend.dtype == np.float32 and np.array_equal(blend, random_blend().numpy())

    def times() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in (project / "results").rglob("*")}

    before = times()
    assert command("original/example_2") == told  # again, which changes nothing
    assert made(project) == files and (project / "config.yaml").read_text() == text
    assert times() == before


def test_a_mask_drawn_from_a_word_is_left_out(project: Path) -> None:
    write(project / "original" / "example_2" / "prompt" / "target_word.txt", "dog")
    told = call("original/example_2", "--name", "word").stderr
    assert not (project / "data" / "word" / "image" / "mask.png").exists()
    assert (project / "data" / "word" / "prompt" / "target_word.txt").read_text() == "dog\n"
    assert told.endswith(
        "original/example_2/image/mask.png: is left out, as the original draws it from the target "
        "word; add --with-mask if it is your own\n"
    )
    command("original/example_2", "--name", "own", "--with-mask")
    assert (project / "data" / "own" / "image" / "mask.png").exists()
    assert (project / "data" / "own" / "prompt" / "target_word.txt").exists()


def test_parts_that_are_missing_are_told_and_not_used(project: Path) -> None:
    original = project / "original" / "example_2"
    shutil.rmtree(original / "lora_weight")
    (original / BLEND).unlink()
    told = command("original/example_2", "--name", "vectors")
    assert told[0].endswith(
        ": embedding_it9.pth is iter9; not found: lora_weight/lora_weight_50iter.pt, "
        "weight_tensor/weighted_tensor.pt"
    )
    overrides = yaml.safe_load((project / "config.yaml").read_text())["overrides"]
    assert overrides["vectors"].items() >= {"use_lora": 0, "use_embedding_iter": 9}.items()

    shutil.rmtree(original / EMBEDDING.parent)
    assert "give --embedding or --lora" in refused("original/example_2", "--name", "none")
    elsewhere = save(random_lora(TINY), project / "other" / "lora_weight_20iter.pt")
    told = command("original/example_2", "--name", "style", "--lora", str(elsewhere.parent))
    assert "lora_weight_20iter.pt is iter19; not found: trained_language_style" in told[0]
    assert (project / "results/style/lora/embedding0/iter19/adapter_model.safetensors").exists()
    overrides = yaml.safe_load((project / "config.yaml").read_text())["overrides"]
    assert overrides["style"] == {
        "method": "inversion",
        "attention_bias": 0,
        "train_textembedding": 0,
        "train_lora": 0,
        "use_textembedding": 0,
        "use_concat_embedding": 0,
        "use_lora": 1,
        "use_lora_iter": 19,
    }


def test_the_files_may_lie_elsewhere(project: Path) -> None:
    embedding = save(random_embedding(TINY, 5), project / "a" / "embedding_it19.pth")
    lora = save(random_lora(TINY, 6), project / "b" / "lora_weight_30iter.pt")
    blend = save(torch.ones(64, 64), project / "c" / "mine.pt")
    command("original/example_2", "--embedding", str(embedding), "--lora", str(lora),
            "--blend", str(blend))  # fmt: skip
    results = project / "results" / "example_2"
    checkpoints = list(results.rglob("*.safetensors"))
    assert sorted(str(path.relative_to(results)) for path in checkpoints) == [
        "lora/embedding19/iter29/adapter_model.safetensors",
        "text_embedding/iter19.safetensors",
    ]
    assert (np.load(project / "data" / "example_2" / "image" / "blend.npy") == 1).all()


def test_the_last_text_embedding_is_the_one_of_lora(project: Path) -> None:
    original = project / "original" / "example_2"
    save(random_embedding(TINY, 2), original / EMBEDDING.parent / "embedding_it19.pth")
    told = command("original/example_2")
    assert told[1] == (
        "data/example_2: LoRA is taken as trained with text embedding iter19; give --embedding if "
        "it was another"
    )
    results = project / "results" / "example_2"
    assert {path.name for path in (results / "text_embedding").iterdir()} == {
        "iter9.safetensors",
        "iter19.safetensors",
    }
    assert [path.name for path in (results / "lora").iterdir()] == ["embedding19"]


def test_a_folder_of_the_original_may_be_the_case_itself(project: Path) -> None:
    shutil.copytree(project / "original" / "example_2", project / "data" / "example_2")
    before = made(project)
    command("data/example_2")
    after = made(project)
    new = {path for path in after if path not in before and path.startswith("data/")}
    assert new == {"data/example_2/image/blend.npy"} and before.items() <= after.items()
    assert (project / "results/example_2/text_embedding/iter9.safetensors").exists()


def test_an_import_that_was_killed_is_made_again(project: Path) -> None:
    command("original/example_2")
    config = project / "results/example_2/lora/embedding9/iter49/adapter_config.json"
    content = config.read_bytes()
    config.unlink()
    command("original/example_2")
    assert config.read_bytes() == content


def other_settings(project: Path) -> str:
    text = "model: tiny\noverrides: {example_2: {cfg: 3}}\n"
    (project / "config.yaml").write_text(text)
    return text


def test_a_blend_mask_of_a_photograph_that_is_not_square_is_left_out(project: Path) -> None:
    picture = next((project / "original/example_2/image").glob("original_image.*"))
    Image.new("RGB", (320, 240)).save(picture)
    for mask in (project / "original/example_2/image").glob("mask.*"):
        mask.unlink()
    told = call("original/example_2").stderr
    assert "is not square, so the blend mask of the original" in told
    assert not (project / "data/example_2/image/blend.npy").exists()


def test_prompts_that_were_changed_after_an_import_are_kept(project: Path) -> None:
    command("original/example_2")
    prompt = project / "data" / "example_2" / "prompt" / "edit_image_prompt.txt"
    write(prompt, "a prompt of my own")
    assert "edit_image_prompt.txt: is not that of the original" in refused("original/example_2")
    assert prompt.read_text() == "a prompt of my own\n"


def test_other_settings_of_the_case_are_kept_and_the_line_to_add_is_told(project: Path) -> None:
    text = other_settings(project)
    told = command("original/example_2")
    assert told[-2].startswith(
        "config.yaml: is left as it is (it has other settings of this case, or another layout); "
        "set in its overrides: example_2: {method: inversion, attention_bias: 0, "
    )
    assert (project / "config.yaml").read_text() == text


def spoil_checkpoint(project: Path) -> None:
    prompt = SoftPrompt(torch.ones(20, 128), 9, "tiny")
    prompt.save(project / "results" / "example_2" / "text_embedding" / "iter9.safetensors")


def spoil_adapter(project: Path) -> None:
    command("original/example_2")
    shutil.rmtree(project / "data")
    save(random_lora(TINY, 9), project / "original" / "example_2" / LORA)


def spoil_blend(project: Path) -> None:
    command("original/example_2")
    save(torch.ones(64, 64), project / "original" / "example_2" / BLEND)


def configure(text: str) -> Any:
    return lambda project: (project / "config.yaml").write_text(text)


REFUSED = {
    "another text embedding is there": (
        spoil_checkpoint,
        "results/example_2/text_embedding/iter9.safetensors: is not what "
        "original/example_2/trained_language_style_embedding/embedding_it9.pth contains",
    ),
    "another adapter is there": (
        spoil_adapter,
        "results/example_2/lora/embedding9/iter49: is not what",
    ),
    "another blend is there": (spoil_blend, "data/example_2/image/blend.npy: is not what"),
    "another photograph is there": (
        lambda project: write(project / "data/example_2/image/original_image.jpg", "x"),
        "data/example_2/image/original_image.jpg: is another photograph",
    ),
    "another model": (
        configure("model: bundled\n"),
        "has vectors of width 128, but those of model bundled have 384; set model to the one",
    ),
    "a table": (configure("cases: cases.tsv\nmodel: tiny\n"), "takes its cases from a table"),
    "faulty settings": (configure("model: tiny\nsede: 1\n"), "sede: is not a setting"),
    "no photograph": (
        lambda project: (project / "original/example_2/image/original_image.jpg").unlink(),
        "has no original_image",
    ),
    "no prompt": (
        lambda project: (project / "original/example_2/prompt/edit_image_prompt.txt").unlink(),
        "edit_image_prompt.txt: there is no such file",
    ),
    "no folder": (
        lambda project: shutil.rmtree(project / "original"),
        "original/example_2: is not a folder; give a case folder of the original",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_imported_is_one_line_and_changes_nothing(project: Path, what: str) -> None:
    spoil, message = REFUSED[what]
    spoil(project)
    files, text = made(project), (project / "config.yaml").read_text()
    line = refused("original/example_2")
    assert message in line and "\n" not in line
    assert made(project) == files and (project / "config.yaml").read_text() == text


def test_a_case_in_use_is_not_changed(project: Path) -> None:
    code = (
        "import sys, pathlib; from editinfinity.planning.in_use import lock_until_exit as lock; "
        "lock([pathlib.Path('data/example_2')]); print(flush=True); sys.stdin.read()"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, env=env) as run:
        assert run.stdout is not None and run.stdout.readline()
        assert "data/example_2: is in use by a run" in refused("original/example_2")
        assert made(project) == {}
        run.communicate()


# --- the workflow ---------------------------------------------------------------------------------


def settings_of_drawing(project: Project, case: str, name: str) -> dict[str, Any]:
    path = project.folder / "results" / case / "edit" / "edit" / f"{name}.json"
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return content


@pytest.mark.slow
def test_the_workflow_draws_with_what_was_imported_and_trains_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = Project.create(tmp_path / "project")
    project.add_case("own", mask=True)
    finished_folder(tmp_path / "example_2", TINY)
    finished_folder(tmp_path / "example_3", TINY, word="dog")
    monkeypatch.chdir(project.folder)
    for name in ("example_2", "example_3"):
        command(str(tmp_path / name))
        # What a blend does is another matter.
        (project.folder / "data" / name / "image" / "blend.npy").unlink()
    jobs = project.run().jobs
    trained = {job for job in jobs if "/text_embedding/" in job or "/lora/" in job}
    assert trained == {"own/text_embedding/iter2", "own/lora/embedding2/iter2"}
    assert {f"{name}/edit/edit/{DRAWING}" for name in ("example_2", "example_3")} <= jobs
    assert "example_3/mask/edit/attention_map" in jobs
    own = DRAWING.replace("9-lora49", "2-lora2")
    facts = settings_of_drawing(project, "example_2", DRAWING)
    assert (facts["attention_bias"], facts["embedding_iterations"]) == (False, 9)
    assert settings_of_drawing(project, "own", own)["attention_bias"] is True

    # The picture is the one that the imported checkpoints give.
    results = project.folder / "results" / "example_2"
    again = results / "again.png"
    edit(
        image_features=results / "features" / "image.safetensors",
        text_features=results / "edit" / "edit" / "text.safetensors",
        embedding=results / "text_embedding" / "iter9.safetensors",
        lora_dir=results / "lora" / "embedding9" / "iter49",
        kernel=results / "mask" / "edit" / "kernel-linear.safetensors",
        output=again,
        settings=again.with_suffix(".json"),
        model=ModelSettings("tiny", attention_bias=False, device="cpu", threads=1),
        sampling=SamplingSettings(seed=42, cfg=4.5, tau=0.5),
    )
    assert again.read_bytes() == (results / "edit" / "edit" / f"{DRAWING}.png").read_bytes()

    # Another mask, and another of the imported iterations: still nothing is trained.
    draw_mask(project.folder / "data" / "example_2" / "image" / "mask.png", 40, (64, 64))
    overrides = yaml.safe_load(Path("config.yaml").read_text("utf-8"))["overrides"]
    overrides["example_3"]["use_lora_iter"] = [49, 9]
    project.configure(overrides=overrides)
    jobs = project.run().jobs
    assert not any("text_embedding" in job or "/lora/" in job for job in jobs)
    assert f"example_3/edit/edit/{DRAWING.replace('lora49', 'lora9')}" in jobs
    assert f"example_3/edit/edit/{DRAWING}" not in jobs


@pytest.mark.slow
@pytest.mark.skipif(not list(weight_files("bundled")), reason="no bundled weights yet")
def test_cases_with_and_without_biases_share_a_run(tmp_path: Path) -> None:
    """On a model whose biases are not zero; one worker draws them one after another."""
    project = Project.create(tmp_path / "project")
    weights = Path("editinfinity", "weights")
    (project.folder / weights).symlink_to(ROOT / weights)
    usual = {"model": "bundled", "threads": "auto", **BARE}
    project.configure(**usual, overrides={"b": {"attention_bias": 0}})
    for name in "abc":
        project.add_case(name, mask=True)
    project.run()
    name = DRAWING.replace("9-lora49", "0-lora0")

    def picture(case: str) -> bytes:
        path = project.folder / "results" / case / "edit" / "edit" / f"{name}.png"
        return path.read_bytes()

    assert picture("a") == picture("c") != picture("b")
    features = [f"results/{case}/features/image.safetensors" for case in "ab"]
    assert len({(project.folder / path).read_bytes() for path in features}) == 1

    # Of the run, and of a case against it; the encoders rest where only a case changes.
    project.configure(**usual)
    plan = project.plan()
    assert plan.pending_rules("b") == {"edit", "finish"}
    assert not plan.pending("a")
    before = picture("a")
    project.configure(**usual, attention_bias=0, overrides={"b": {"attention_bias": 1}})
    project.run()
    assert picture("b") == before and picture("a") == picture("c") != before
