"""The command line: help that teaches, faults in one line, every stage by hand."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
import typer
from PIL import Image
from typer.main import get_command
from typer.testing import CliRunner

from editinfinity import cli
from editinfinity.cli import stages as cli_stages
from editinfinity.cli.edit_options import EditOptions
from editinfinity.cli.main import _setting_without_option
from editinfinity.cli.options import grouped
from editinfinity.settings.groups import (
    FinishSettings,
    LoraSettings,
    MaskSettings,
    SamplingSettings,
    TrainingSettings,
)
from tests.command import run
from tests.workflow.project import ROOT

RULES = (
    "check", "jsonl", "image_features", "text_features", "train_textembedding", "train_lora",
    "attention_map", "prompt_map", "kernel", "mask_pictures", "edit", "rendering", "finish",
    "metrics", "select",
)  # fmt: skip


def test_version_and_help_need_no_torch() -> None:
    done = run(ROOT, "--version")
    assert done.returncode == 0 and done.stdout.startswith("editinfinity ")
    code = (
        "import sys\nfrom editinfinity.cli import main\nsys.argv = ['editinfinity', '--help']\n"
        "try: main()\nexcept SystemExit: pass\nsys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "data/NAME" in done.stdout and "editinfinity run" in done.stdout


def test_every_rule_has_its_command_and_its_help() -> None:
    commands = get_command(cli_stages.stages).commands  # type: ignore[attr-defined]
    assert tuple(commands) == RULES
    for name in RULES:
        done = CliRunner().invoke(cli.app, ["stage", name, "--help"])
        assert done.exit_code == 0 and len(done.output.splitlines()) > 6, name


@pytest.mark.parametrize(
    "arguments",
    [["cases=[a b]"], ["--config=seed=3", "cases=[a b]"], ["--cores", "1", "cases=[a b]", "cfg=3"]],
)
def test_settings_of_a_run_need_config_before_them(tmp_path: Path, arguments: list[str]) -> None:
    refused = run(tmp_path, "run", *arguments)
    assert refused.returncode == 1 and refused.stderr == (
        "editinfinity: cases=[a b]: settings follow --config: editinfinity run --config "
        "'cases=[a b]'\n"
    )


def test_what_is_no_setting_of_a_run_is_left_to_snakemake() -> None:
    assert _setting_without_option(["--config", "cases=[a]", "seed=3", "--cores", "1"]) is None
    assert _setting_without_option(["results/a=b/edit.png", "--set-threads", "seed=3"]) is None
    assert _setting_without_option(["-C", "cfg=3", "--keep-going", "seed=3"]) == "seed=3"


@pytest.mark.parametrize(
    "name", ["app", "edit", "again", "batch", "new", "import", "preview", "show", "run"]
)
def test_help_shows_its_examples_on_lines_of_their_own(name: str) -> None:
    lines = CliRunner().invoke(cli.app, [name, "--help"]).output.splitlines()
    assert not any("\\b" in line or "\x08" in line for line in lines)
    examples = [line for line in lines if line.count(f"editinfinity {name} ")]
    assert all(line.strip().startswith("editinfinity") or "Usage" in line for line in examples)


def test_commands_may_take_options_as_a_group() -> None:
    app, seen = typer.Typer(), []

    @app.command()
    @grouped
    def draw(*, name: str, options: _Pen, last: int = 1) -> None:
        seen.append((name, options, last))

    done = CliRunner().invoke(app, ["a", "red", "--width", "3"])
    assert done.exit_code == 0 and seen == [("a", _Pen("red", 3), 1)]
    assert CliRunner().invoke(app, ["a"]).exit_code == 2  # the colour is needed


@dataclass(frozen=True)
class _Pen:
    colour: str
    width: Annotated[int, typer.Option(min=0)] = 2


def test_options_are_those_of_the_settings() -> None:
    left_out = {"lora_learning_rate", "attention_scales"}
    for stage, groups in (
        (cli_stages.train_textembedding, [TrainingSettings]),
        (cli_stages.train_lora, [TrainingSettings, LoraSettings]),
        (cli_stages.edit, [SamplingSettings]),
        (cli_stages.finish, [FinishSettings]),
        (cli_stages.kernel, [MaskSettings]),
    ):
        options = inspect.signature(stage).parameters
        for field in [field for group in groups for field in fields(group)]:
            if field.name not in left_out:
                assert options[field.name].default == field.default
        left_out = {"embedding_learning_rate", "attention_scales"}
    scales = inspect.signature(cli_stages.attention_map).parameters["attention_scales"]
    assert scales.default == MaskSettings.attention_scales


def test_earlier_options_of_stages_still_work() -> None:
    text = CliRunner().invoke(cli_stages.stages, ["train_lora", "--help"]).output
    for name in ("--seed", "--learning-rate", "--rank", "--alpha", "--dropout", "--grad-clip"):
        assert re.search(rf"{name} <", text), name


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments, fault",
    [
        (["stage", "finish", "--edited", "no.png", "--image", "no.png", "--output", "x.png"],
         "no.png: there is no such file"),
        (["stage", "text_features", "--prompt", "@no.txt", "--output", "x"],
         "no.txt: there is no such file"),
        (["stage", "image_features", "--image", "no.png", "--output", "x", "--threads", "none"],
         "threads: must be auto or a whole number from 1 to 4096, got"),
        (["stage", "image_features", "--image", "no.png", "--output", "x", "--pixel-budget", "2M"],
         "pixel_budget: must be one of 0.06M, 0.25M, 0.60M, 1M"),
        (["stage", "train_textembedding", "--image-features", "i", "--text-features", "t",
          "--output", "x", "--betas", "0.9", "1"],
         "betas: must be a list of 2 numbers, each ≥ 0 and < 1, got [0.9, 1.0]"),
        (["stage", "edit", "--image-features", "i", "--text-features", "t", "--output", "x.json"],
         "--output: x.json is not a PNG"),
    ],
)  # fmt: skip
def test_faults_are_one_line_and_status_one(
    tmp_path: Path, arguments: list[str], fault: str
) -> None:
    done = run(tmp_path, *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("editinfinity: ") and fault in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_run_hands_everything_to_snakemake(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda path, arguments: calls.append(arguments))
    for given, cores in (
        (["--dry-run", "--config", "cases=[photo]"], ["--cores", "1"]),
        (["-c4", "-n"], []),
        (["--cores=2"], []),
        (["--workflow-profile", "profiles/slurm"], []),
        (["--conda-frontend", "conda"], ["--cores", "1"]),
    ):
        assert CliRunner().invoke(cli.app, ["run", *given]).exit_code == 0
        head, tail = calls[-1][:5], calls[-1][5:]
        assert head[1:4] == ["-m", "snakemake", "--snakefile"]
        assert head[4].endswith("Snakefile")
        assert tail == [*cores, *given]


def invoke(*arguments: str | Path) -> None:
    # In this process: ten of them would import torch ten times.
    done = CliRunner().invoke(
        cli.app, ["--quiet", "stage", *map(str, arguments)], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output


def test_a_whole_edit_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    noise = np.random.default_rng(0).random((30, 40, 3))
    picture = Image.fromarray((noise * 255).astype(np.uint8)).resize((320, 240))
    picture.save("cup.jpg")
    mask = Image.new("L", picture.size, 255)
    mask.paste(0, (90, 70, 200, 160))
    mask.save("mask.png")
    Path("source.txt").write_text("a red cup")
    tiny = ("--model", "tiny", "--device", "cpu", "--threads", "1")
    features = ("--image-features", "image.st", "--text-features", "source.st")
    invoke("check", "--image", "cup.jpg", "--source-prompt", "@source.txt", "--prompt", "blue cup",
           "--mask", "mask.png", "--target-word", "cup", "--output", "check.json")  # fmt: skip
    invoke("jsonl", "--image", "cup.jpg", "--source-prompt", "@source.txt", "--output", "t.jsonl")
    invoke("image_features", "--image", "cup.jpg", "--output", "image.st", *tiny)
    invoke("text_features", "--prompt", "@source.txt", "--output", "source.st", *tiny)
    invoke("text_features", "--prompt", "a blue cup", "--output", "edit.st", *tiny)
    for iterations, more in (("1", ()), ("2", ("--previous", "e1.st"))):
        invoke("train_textembedding", *features, "--output", f"e{iterations}.st",
               "--iterations", iterations, *more, *tiny)  # fmt: skip
    for iterations, more in (("1", ()), ("2", ("--previous", "lora1"))):
        invoke("train_lora", *features, "--embedding", "e2.st", "--output-dir",
               f"lora{iterations}", "--iterations", iterations, *more, *tiny)  # fmt: skip
    invoke("attention_map", *features, "--target-word", "cup", "--output", "attention.st", *tiny)
    invoke("kernel", "--image-features", "image.st", "--attention", "attention.st",
           "--output", "automatic.st")  # fmt: skip
    invoke("mask_pictures", "--image-features", "image.st", "--attention", "attention.st",
           "--mask-image", "automatic.png", "--heatmap", "heatmap.png")  # fmt: skip
    plain = ("--source-features", "source.st", "--target-features", "edit.st")
    invoke("prompt_map", "--image-features", "image.st", *plain, "--output", "found.st", *tiny)
    invoke("kernel", "--image-features", "image.st", "--prompt-map", "found.st", "--find-mask",
           "bits", "--output", "found_kernel.st")  # fmt: skip
    invoke("kernel", "--image-features", "image.st", "--mask", "mask.png", "--output", "kernel.st")
    invoke("edit", "--image-features", "image.st", "--text-features", "edit.st", "--embedding",
           "e2.st", "--lora-dir", "lora2", "--kernel", "kernel.st", "--output", "edited.png",
           *tiny)  # fmt: skip
    invoke("rendering", "--image-features", "image.st", "--output", "rendering.png",
           *tiny)  # fmt: skip
    invoke("finish", "--edited", "edited.png", "--image", "cup.jpg", "--output", "done.png",
           "--rendering", "rendering.png")  # fmt: skip
    assert Image.open("done.png").size == (320, 240)
    assert Path("edited.json").is_file() and Path("e2.state.st").is_file()


@pytest.mark.parametrize(
    ("given", "find_mask", "method"),
    [
        ({"source": "a dog"}, "both", "editmod"),
        ({"source": "a dog", "set": ["cfg=3", "method=inversion"]}, "both", "inversion"),
        ({"source": "a dog", "set": ["guidance=source_negative"]}, "both", None),
        ({"source": "a dog", "find_mask": "bits"}, "bits", "editmod"),
        ({"source": "a dog", "set": ["mask_source=words"]}, None, "editmod"),
        ({"source": "a dog", "set": ["mask_source=none"]}, None, None),
        ({"source": "a dog", "set": ["mask_source=auto"]}, None, None),
        ({"source": "a dog", "set": ["infer_function=0"]}, None, None),
        ({"source": "a dog", "target": "dog"}, None, None),
        ({"source": " "}, None, None),
        ({"source": "a  cat"}, None, None),  # the same prompt twice
        ({}, None, None),
    ],
)
def test_the_place_is_found_where_two_prompts_say_it_and_nothing_else_does(
    given: dict[str, Any], find_mask: str | None, method: str | None
) -> None:
    options = EditOptions("a cat", **given).finding_the_place()
    assert options.find_mask == find_mask
    assert options.settings().get("method") == method
