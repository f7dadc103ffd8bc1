"""Names in messages: what a message says can be pasted, and no name breaks its line."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from snakemake.cli import parse_config

from editinfinity.cases.create import command_for_case
from editinfinity.config.load import load_config
from editinfinity.errors import UserError, first_sentence
from editinfinity.names import shell_command, why_unusable

HOSTILE = (
    "holiday", "my cat", "it's", "(1)", "#1", "001", "1e3", "null", "yes", "-rf", "--config", "~",
    "a: b", "- a", "$(touch forged)", "`touch forged`", "$HOME", "a;touch forged", "a|b&c", "!x",
    "*", "?", "[a]", "é", "日本", "a  b", "a\N{NO-BREAK SPACE}b", "%", "@", "=", "a=b", "1_000",
    "0x1F", "'", "''", ">x", "2024-01-01", "!!python none", "&a", "*a", "a #b", "|", "😀",
)  # fmt: skip
"""Names of cases that are usable, but mean something to a shell or in YAML."""

WORDS = (
    *HOSTILE,
    "",
    "a\nb",
    "a\tb",
    "\x1b[2J",
    "a'\n\\",
    "\udcff",
    "\x7f",
    "\u2028",
    '"',
    "\\",
    "{a}",
)


def words_of(command: str, folder: Path) -> list[str]:
    """Have bash read a command, and return the words that ``editinfinity`` gets."""
    script = f"editinfinity() {{ printf '%s\\0' \"$@\"; }}; {command}"
    done = subprocess.run(
        ["bash", "-c", os.fsencode(script)], cwd=folder, capture_output=True, check=True
    )
    assert not done.stderr
    return [os.fsdecode(word) for word in done.stdout.split(b"\0")[:-1]]


def test_a_shell_reads_the_words_that_were_meant(tmp_path: Path) -> None:
    if shutil.which("bash") is None:
        pytest.skip("needs bash")
    command = shell_command("editinfinity", *WORDS)
    assert command.isprintable() or "\N{NO-BREAK SPACE}" in command
    assert "\n" not in command and "\x1b" not in command
    assert str(UserError(f"run {command}")) == f"run {command}"
    assert words_of(command, tmp_path) == list(WORDS)
    assert not list(tmp_path.iterdir())
    assert shell_command("ls", Path("-x y")) == "ls './-x y'"


@pytest.mark.parametrize("data", [Path("data"), Path("my data/it's # 1"), Path("123")])
def test_the_command_for_a_case_runs_that_case(data: Path, tmp_path: Path) -> None:
    for name in HOSTILE:
        assert why_unusable(name) is None
        words = words_of(command_for_case(name, data), tmp_path)
        assert words[:2] == ["run", "--config"]
        config = load_config(parse_config(words[2:]), command_line=("cases", "data"))
        assert config.cases == (name,) and config.data == data
    assert not list(tmp_path.iterdir())
    assert command_for_case("holiday") == "editinfinity run --config 'cases=[holiday]'"


def test_no_name_makes_a_line_of_its_own() -> None:
    message = str(UserError("a\nb\r\x1b[2Jc\udcff\u2028d.jpg: is no picture"))
    assert message == "a\\nb\\r\\x1b[2Jc\\udcff\\u2028d.jpg: is no picture"
    message.encode("ascii")


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("Weights only load failed. In PyTorch 2.6, re-run with `weights_only=False`.",
         "Weights only load failed"),
        ("Can't load '/a/b.json'.\nIf you were trying to load it from the hub, make sure …",
         "Can't load '/a/b.json'"),
        ("image file is truncated (4 bytes not processed)",
         "image file is truncated (4 bytes not processed)"),
        ("has version 1.5", "has version 1.5"),
        ("", "ValueError"),
    ],
)  # fmt: skip
def test_the_advice_of_libraries_is_left_out(said: str, kept: str) -> None:
    assert first_sentence(ValueError(said)) == kept
