"""Manners of the commands: JSON by a schema, silence, standard streams, completion, exit codes."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from jsonschema import Draft202012Validator
from PIL import Image
from typer.main import get_command
from typer.testing import CliRunner

from editinfinity import cli
from editinfinity.cases.create import make_case
from editinfinity.cli import delivery, streams
from editinfinity.cli.delivery import PhotographResult, print_results, print_results_as_json
from editinfinity.cli.edit_options import EditOptions, Prompt, log_unused_training
from editinfinity.cli.everyday import _with_earlier_source
from editinfinity.cli.streams import (
    STANDARD,
    picture_or_standard_input,
    text_or_standard_input,
)
from editinfinity.cli.weights import _tell_report
from editinfinity.doctor import Finding, Severity
from editinfinity.errors import UserError
from editinfinity.files.photograph import photograph_of
from editinfinity.files.writing import write_photograph
from editinfinity.released.deep_check import Check, DeepReport
from tests.command_output import SCHEMA, parsed
from tests.workflow.project import ROOT, draw_image

RUNNER = CliRunner()
SETTINGS = '{"prompt": "\\u00e9\\n", "lora_iterations": null}'


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A picture with settings."""
    write_photograph(tmp_path / "made.png", photograph_of(Image.new("RGB", (8, 8))), SETTINGS)
    return tmp_path / "made.png"


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert set(SCHEMA["$defs"]) == {"doctor", "show", "batch", "weights_verify"}


def test_settings_of_a_picture_as_json(made: Path) -> None:
    done = RUNNER.invoke(cli.app, ["show", str(made), "--json"])
    shown = parsed(done.stdout, "show")
    assert shown == {"picture": str(made), "settings": json.loads(SETTINGS)}
    # The text for people is the settings alone, as it was; --quiet does not silence an answer.
    for quiet in ([], ["--quiet"]):
        plain = RUNNER.invoke(cli.app, [*quiet, "show", str(made)])
        assert json.loads(plain.stdout) == json.loads(SETTINGS) and plain.stdout.count("\n") > 2
    done = RUNNER.invoke(cli.app, ["show", "-", "--json"], input=made.read_bytes())
    assert parsed(done.stdout, "show") == {**shown, "picture": "-"}


NOT_PRINTABLE = "\x1b[31m\x9b1m\x07"


@pytest.mark.parametrize(
    "text",
    ["seed 3\n" + NOT_PRINTABLE, "[1]", "[" * 100_000, '{"seed": 1e999}', '{"seed": NaN}'],
)
def test_settings_that_are_no_json(tmp_path: Path, text: str) -> None:
    write_photograph(tmp_path / "a.png", photograph_of(Image.new("RGB", (8, 8))), text)
    done = RUNNER.invoke(cli.app, ["show", str(tmp_path / "a.png"), "--json"])
    assert isinstance(done.exception, UserError) and not done.stdout
    assert str(done.exception).endswith("its settings are not JSON; show them without --json")
    plain = RUNNER.invoke(cli.app, ["show", str(tmp_path / "a.png")])
    assert plain.exit_code == 0 and not set("\x1b\x9b\x07") & set(plain.output)


def test_what_a_picture_says_does_not_reach_the_terminal_as_control(tmp_path: Path) -> None:
    text = json.dumps({"prompt": f"a cat{NOT_PRINTABLE}\ud800"})
    write_photograph(tmp_path / "a.png", photograph_of(Image.new("RGB", (8, 8))), text)
    done = RUNNER.invoke(cli.app, ["show", str(tmp_path / "a.png")])
    assert done.exit_code == 0 and "a cat" in done.output
    assert all(character.isprintable() or character == "\n" for character in done.output)


def test_findings_of_the_doctor_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    findings = [
        Finding("a", "fine"), Finding("b", "hm", Severity.NOTE),
        Finding("c", "é\n", Severity.FAULT),
    ]  # fmt: skip
    monkeypatch.setattr("editinfinity.doctor.run_checks", lambda *_: findings)
    done = RUNNER.invoke(cli.app, ["doctor", "--json"])
    assert done.exit_code == 1
    assert parsed(done.stdout, "doctor") == {
        "works": False,
        "findings": [
            {"subject": "a", "severity": "ok", "text": "fine"},
            {"subject": "b", "severity": "note", "text": "hm"},
            {"subject": "c", "severity": "fault", "text": "é\n"},
        ],
    }
    # Quiet, only what is wrong is printed, as an error.
    quiet = RUNNER.invoke(cli.app, ["doctor", "-q"])
    assert (quiet.exit_code, quiet.stdout, quiet.stderr) == (1, "", "c: é\\n\n")
    findings.pop()
    assert parsed(RUNNER.invoke(cli.app, ["doctor", "--json"]).stdout, "doctor")["works"]
    quiet = RUNNER.invoke(cli.app, ["-q", "doctor"])
    assert (quiet.exit_code, quiet.output) == (0, "")


RESULTS = [
    PhotographResult(Path("a.jpg"), "edited", 2.5, os.fsdecode(b"out/\xff\n.jpg")),
    PhotographResult(Path("b.jpg"), "skipped", None, "has no mask"),
    PhotographResult(Path("c.jpg"), "failed", 0.25, "c.jpg: is damaged"),
]


def test_results_of_a_batch_as_json(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    print_results_as_json(RESULTS)
    photographs = parsed(capsys.readouterr().out, "batch")["photographs"]
    assert [list(each.values()) for each in photographs] == [
        ["a.jpg", "edited", 2.5, os.fsdecode(b"out/\xff\n.jpg"), None],
        ["b.jpg", "skipped", None, None, "b.jpg: has no mask"],
        ["c.jpg", "failed", 0.25, None, "c.jpg: is damaged"],
    ]
    assert caplog.messages == ["b.jpg: has no mask", "c.jpg: is damaged"]


@pytest.mark.parametrize("terminal", [False, True])
def test_quiet_results_are_errors_alone(
    terminal: bool, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    results = [RESULTS[0]._replace(show="out/a.jpg"), *RESULTS[1:]]
    print_results(results)
    assert "out/" in capsys.readouterr().out
    caplog.clear()
    streams.be_quiet()
    print_results(results)
    assert capsys.readouterr().out == "" and caplog.messages == ["c.jpg: is damaged"]


def test_every_command_may_be_told_to_be_quiet() -> None:
    def names(command: object, path: str) -> Iterator[tuple[str, list[str]]]:
        for name, child in getattr(command, "commands", {}).items():
            if hasattr(child, "commands"):
                yield from names(child, f"{path} {name}")
            else:
                yield f"{path} {name}", [text for each in child.params for text in each.opts]

    for path, options in names(get_command(cli.app), ""):
        assert ("-q" in options) == (path != " run"), path  # whose options are Snakemake's


def test_weights_as_json_and_quiet() -> None:
    file = ROOT / "editinfinity" / "weights" / "bundled" / "tokenizer.safetensors"
    done = RUNNER.invoke(cli.app, ["weights", "verify", str(file), "--json"])
    assert done.exit_code == 0, done.exception
    (verdict,) = parsed(done.stdout, "weights_verify")["files"]
    assert (verdict["path"], verdict["model"], verdict["part"]) == (
        str(file), "bundled", "tokenizer"
    )  # fmt: skip
    assert verdict["usable"] and verdict["complete"] and verdict["checksum"] is None
    assert verdict["tensors"] > 9 and verdict["parameters"] > 1e6
    assert RUNNER.invoke(cli.app, ["weights", "verify", str(file), "-q"]).output == ""


def test_a_model_that_is_not_trained_is_told_in_silence_too(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    checks = [Check("finite", "3", "all", True, ""), Check("loss", "9", "1", False, "it is high")]
    verdict = "tiny: is not trained, is damaged, or has parts of different models: it is high"
    _tell_report("tiny", DeepReport(checks, None), Path("tiny_check.png"))
    told = capsys.readouterr().out
    assert told.endswith(f"{verdict}\n") and "suspicious" in told and "tiny_check.png" in told
    streams.be_quiet()
    _tell_report("tiny", DeepReport(checks, None), Path("tiny_check.png"))
    _tell_report("tiny", DeepReport(checks[:1], None), None)
    assert capsys.readouterr().out == "" and caplog.messages == [verdict]


def given(monkeypatch: pytest.MonkeyPatch, content: bytes, terminal: bool = False) -> None:
    """Put something on standard input."""
    buffer = io.BytesIO(content)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=buffer, isatty=lambda: terminal))


def test_a_picture_on_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw_image(tmp_path / "a.jpg", 1, (16, 16))
    assert picture_or_standard_input(tmp_path / "a.jpg", tmp_path / "in") == tmp_path / "a.jpg"
    paths = []
    for name in ("a.jpg", "a.jpg", "b.webp"):
        with Image.open(tmp_path / "a.jpg") as image:
            image.save(tmp_path / "b.webp")
        given(monkeypatch, (tmp_path / name).read_bytes())
        paths.append(picture_or_standard_input(STANDARD, tmp_path / "in"))
        assert paths[-1].read_bytes() == (tmp_path / name).read_bytes()
    assert paths[0] == paths[1]  # so that nothing is learned twice
    assert [path.suffix for path in paths[1:]] == [".jpg", ".webp"]
    assert sorted((tmp_path / "in").iterdir()) == sorted(set(paths))

    for content, terminal, fault in (
        (b"no picture", False, "^standard input: is not a picture that can be read"),
        (b"", False, "standard input is empty"),
        (b"x", True, "which is a terminal; redirect a file to it"),
    ):
        given(monkeypatch, content, terminal)
        with pytest.raises(UserError, match=fault):
            picture_or_standard_input(STANDARD, tmp_path / "in")
    assert len(list((tmp_path / "in").iterdir())) == 2  # nothing was left
    monkeypatch.setattr("editinfinity.files.opening.MAX_BYTES", 9)
    given(monkeypatch, bytes(10))
    with pytest.raises(UserError, match="more than 9 bytes; give a smaller file"):
        picture_or_standard_input(STANDARD, tmp_path / "in")


def test_a_prompt_on_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (text_or_standard_input("a cat"), text_or_standard_input(None)) == ("a cat", None)
    given(monkeypatch, "\ufeffa café -\n".encode())
    assert text_or_standard_input("-") == "a café -"
    given(monkeypatch, b"\xff")
    with pytest.raises(UserError, match="standard input is not UTF-8 text"):
        text_or_standard_input("-")
    given(monkeypatch, bytes(2**16 + 1))
    with pytest.raises(UserError, match="more than 65,536 bytes"):
        text_or_standard_input("-")
    app, seen = typer.Typer(), []

    @app.command()
    def show(prompt: Prompt) -> None:
        seen.append(prompt)

    assert RUNNER.invoke(app, ["--prompt", "-"], input="a dog\n").exit_code == 0
    assert seen == ["a dog"]


def test_a_table_on_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    draw_image(tmp_path / "a.png", 1, (32, 32))
    table = "case\timage\tedit_prompt\none\ta.png\ta cat\n"
    done = RUNNER.invoke(cli.app, ["import", "-"], input=table)
    assert done.exit_code == 0 and done.stdout == "data/one\n", done.exception
    prompt = tmp_path / "data" / "one" / "prompt" / "edit_image_prompt.txt"
    assert prompt.read_text() == "a cat\n"
    assert not (tmp_path / "-").exists()
    done = RUNNER.invoke(cli.app, ["import", "-"], input=table.replace("a.png", ""))
    assert str(done.exception) == "-: line 2: image is empty; fill it in"


def test_a_picture_is_not_printed_to_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_image(tmp_path / "a.png", 1, (32, 32))
    arguments = ["edit", str(tmp_path / "a.png"), "--prompt", "a", "--work", str(tmp_path / "w")]
    monkeypatch.setattr(delivery, "require_writable_standard_output", _refuse)
    done = RUNNER.invoke(cli.app, [*arguments, "--output", "-"])
    assert str(done.exception) == "asked"
    done = RUNNER.invoke(cli.app, [*arguments, "--output", "-", "--refine"])
    assert str(done.exception) == "--refine: writes two pictures, so it needs --output FILE"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    with pytest.raises(UserError, match="redirect it to a file, or name one"):
        streams.require_writable_standard_output()


def _refuse() -> None:
    raise UserError("asked")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("ed", ["edit"]),
        ("weights v", ["verify"]),
        ("edit --mask", ["--mask", "--mask-edit-region"]),
        ("edit a.jpg --mask-edit-region t", ["transparent"]),
        ("edit a.jpg --find-mask ", ["words", "bits", "both"]),
        ("weights fetch infinity_2", ["infinity_2b"]),
        ("edit ph", []),  # then shells complete the names of files
    ],
)
def test_shells_complete_commands_options_and_values(words: str, expected: list[str]) -> None:
    done = RUNNER.invoke(
        cli.app, [], prog_name="editinfinity", complete_var="_EDITINFINITY_COMPLETE",
        env={
            "_EDITINFINITY_COMPLETE": "complete_bash",
            "COMP_WORDS": f"editinfinity {words}",
            "COMP_CWORD": str(len(words.split(" "))),
        },
    )  # fmt: skip
    assert done.stdout.split() == expected


def test_the_exit_statuses_are_those_of_the_docs(tmp_path: Path) -> None:
    """0, 1 and 2; tests/test_everyday.py has the one of Ctrl-C."""
    for arguments, status in (
        (["--version"], 0), (["show", "none.png"], 1), (["show"], 2), (["show", "--nothing"], 2),
        (["nothing"], 2),
    ):  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-m", "editinfinity", *arguments], cwd=tmp_path,
            capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert done.returncode == status, done
        assert (done.stdout == "") == (done.stderr != "") == (status != 0)


def test_a_target_that_the_earlier_source_prompt_contains_keeps_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    draw_image(tmp_path / "a.png", 1, (32, 32))
    make_case(tmp_path / "case", tmp_path / "a.png", "a red cup on a table", {})

    def source_of(**options: str) -> str | None:
        chosen = EditOptions("a cat", **options)
        return _with_earlier_source(chosen, tmp_path / "case", Path("a.png")).source_prompt()

    assert source_of() == source_of(target="Cup") == "a red cup on a table"
    assert source_of(source="a mug", target="mug") == "a mug"
    assert not caplog.messages
    assert source_of(target="dog") == "a photo of a dog"
    assert caplog.messages == [
        'a.png: described as "a photo of a dog", as "a red cup on a table" does not contain the '
        "target; --source describes it in your words"
    ]
    assert _with_earlier_source(EditOptions("a"), tmp_path, Path("a.png")).source_prompt() is None


def test_settings_of_a_training_that_is_not_run_are_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for settings in ({}, {"train_lora_iter": 3}, {"method": "editmod", "cfg": 3, "seed": 1}):
        log_unused_training(settings)
    log_unused_training({"method": "inversion", "train_lora_iter": 3})
    assert not caplog.messages
    log_unused_training({"method": "editmod", "train_lora_iter": 3, "lora_rank": 4, "drop_path": 0})
    assert caplog.messages == [
        "--set drop_path, lora_rank, train_lora_iter: no effect, as nothing is trained (method: "
        "editmod); to train, add --set method=inversion"
    ]
