"""Bad configurations, names and tables: a line each, from the same functions as planning uses."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from editinfinity.cases.case import Cases
from editinfinity.cases.load import load_cases
from editinfinity.config.config_file import check_yaml
from editinfinity.config.load import ConfigError, load_config
from editinfinity.planning.targets import check_plan
from tests.bad_input.corpus import require_clear, sound_case


def plan(folder: Path) -> Cases:
    """Plan a folder as rules/common.smk does, config.yaml first."""
    path = folder / "config.yaml"
    check_yaml(path)
    raw = yaml.safe_load(path.read_text("utf-8")) or {}
    config = load_config({"model": "tiny", **raw})
    cases = load_cases(config)
    check_plan(config, cases)
    return cases


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    sound_case(Path("data/case"))
    return tmp_path


CONFIGS: dict[str, tuple[str | bytes, str]] = {
    "an unknown key": ("use_lorra: 1", "use_lorra"),
    "a key of another program": ("learning_rate: 1", "learning_rate"),
    "a key that is no text": ("1: 2", "1"),
    "a word for a number": ("train_lora_iter: fifty", "train_lora_iter"),
    "negative iterations": ("train_lora_iter: -1", "train_lora_iter"),
    "half an iteration": ("train_lora_iter: 2.5", "train_lora_iter"),
    "more iterations than are trained": ("use_lora_iter: 60", "use_lora_iter"),
    "an iteration of what is not trained": ("train_lora: 0", "train_lora"),
    "no checkpoints": ("checkpoint_every: 0", "checkpoint_every"),
    "not a number": ("cfg: .nan", "cfg"),
    "infinity": ("tau: .inf", "tau"),
    "no temperature": ("tau: 0", "tau"),
    "an empty list": ("cfg: []", "cfg"),
    "a list in a list": ("cfg: [[4]]", "cfg"),
    "a list where none may be": ("train_lora_iter: [10, 20]", "train_lora_iter"),
    "a seed beyond all seeds": ("seed: 99999999999999999999999999", "seed"),
    "a number of a million digits": (b"seed: " + b"9" * 10**6, "config.yaml"),
    "yes for a choice": ("mask_source: yes", "mask_source"),
    "an unknown model": ("model: infinity_3b", "model"),
    "an unknown device": ("device: tpu", "device"),
    "no data folder": ("data: dat", "data"),
    "a file for a data folder": ("data: config.yaml", "config.yaml"),
    "a missing case": ("cases: [cas]", "cas"),
    "a case outside": ("cases: [../case]", "../case"),
    "the folder above": ("cases: ['..']", ".."),
    "an absolute case": ("cases: [/etc]", "/etc"),
    "no case": ("cases: []", "cases"),
    "a number for a case": ("cases: [1]", "cases"),
    "overrides for no case": ("overrides: {cas: {cfg: 3}}", "cas"),
    "a wrong override": ("overrides: {case: {cfg: high}}", "cfg"),
    "an override of the run's": ("overrides: {case: {model: tiny}}", "model"),
    "a slice beyond the last": ("slice: 3/2", "slice"),
    "no slice": ("slice: 0/2", "slice"),
    "half a slice": ("slice: 0.5", "slice"),
    "broken YAML": ("cfg: [4\nseed: 1", "config.yaml"),
    "tabs": ("overrides:\n\tcase: 1", "config.yaml"),
    "a list at the top": ("- cfg: 4", "config.yaml"),
    "a key twice": ("cfg: 4\ncfg: 5", "config.yaml"),
    "Latin-1": ("data: b\xe4r".encode("latin-1"), "config.yaml"),
    "a null byte": (b"cfg: 4\0", "config.yaml"),
    "code": ("cfg: !!python/object/apply:os.system [touch pwned]", "config.yaml"),
    "very deep": ("cfg: " + "[" * 20_000, "config.yaml"),
    "very deep and closed": ("cfg: " + "[" * 5_000 + "]" * 5_000, "config.yaml"),
    "a billion laughs": (
        "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n"
        + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10))
        + "cfg: *a9",
        "config.yaml",
    ),
    "itself": ("overrides: &o {case: *o}", "config.yaml"),
    "without end": (b"#" * (2**21), "config.yaml"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_bad_configurations(name: str, folder: Path) -> None:
    content, blamed = CONFIGS[name]
    data = content.encode() if isinstance(content, str) else content
    (folder / "config.yaml").write_bytes(data)
    with pytest.raises(ConfigError) as fault:
        plan(folder)
    for line in fault.value.lines[:3]:
        require_clear(line, "")
    assert blamed in str(fault.value)
    assert not Path("pwned").exists()


def test_a_configuration_that_is_no_file(folder: Path) -> None:
    for make in (Path.mkdir, os.mkfifo):
        path = folder / f"config-{make.__name__}.yaml"
        make(path)
        with pytest.raises(ConfigError) as fault:
            check_yaml(path)
        require_clear(str(fault.value), path.name)


WELCOME = (
    "été", "写真", "two words", " leading", "it's", "a;b&c|d", "100%", "$HOME", "`date`", "-rf",
    "--cores", "*", "~", "#1", "CON", "a" * 199 + "b",
)  # fmt: skip
INVALID = (
    "two\nlines", "a\ttab", "bell\a", "esc\x1b[31m", 'quo"te', "{case}", "a,b", "back\\slash",
    "report.html", "line\u2028separator", "a" * 201,
    "a<b>c", "a" * 20,
)  # fmt: skip
NO_TEXT = b"latin-\xe4"


def test_names_of_folders(folder: Path) -> None:
    for name in (*WELCOME, *INVALID):
        sound_case(Path("data", name))
    Path("data/case").rename(os.fsdecode(b"data/" + NO_TEXT))
    (folder / "config.yaml").write_text("", encoding="utf-8")
    cases = plan(folder)
    assert set(cases.by_name) == set(WELCOME)
    # Each sound case has a mask, and so a word that is not used.
    unused = [line for line in cases.notices if "target_word.txt is not used to edit" in line]
    skipped = [line for line in cases.notices if line not in unused]
    assert (len(unused), len(skipped)) == (len(WELCOME), len(INVALID) + 1)
    for line in cases.notices:
        assert line.isprintable()
        require_clear(line, "skipped" if line in skipped else "mask.png")


def test_a_case_twice_is_one(folder: Path) -> None:
    (folder / "config.yaml").write_text("cases: [case, case]", encoding="utf-8")
    assert list(plan(folder).by_name) == ["case"]


def test_links_among_the_cases(folder: Path) -> None:
    sound_case(folder / "elsewhere")
    for name, target in (("linked", folder / "elsewhere"), ("gone", folder / "gone")):
        Path("data", name).symlink_to(target)
    Path("data/loop").symlink_to("loop")
    (folder / "config.yaml").write_text("", encoding="utf-8")
    assert set(plan(folder).by_name) == {"case", "linked"}


def row(*cells: str) -> str:
    return "\t".join(cells)


HEAD = row("case", "image", "edit_prompt")
TABLES: dict[str, tuple[str | bytes, str]] = {
    "nothing": ("", "cases.tsv"),
    "no rows": (HEAD, "cases.tsv"),
    "no heading": (row("a", "a.jpg", "a cat"), "case"),
    "commas": ("case,image,edit_prompt\na,a.jpg,a cat", "case"),
    "a cell too many": (f"{HEAD}\n{row('a', 'a.jpg', 'a cat', 'x')}", "cases.tsv"),
    "a cell too few": (f"{HEAD}\n{row('a', 'a.jpg')}", "line 2"),
    "an edit twice": (f"{HEAD}\n{row('a', 'a.jpg', 'x')}\n{row('a', 'a.jpg', 'y')}", "twice"),
    "a name outside": (f"{HEAD}\n{row('../a', 'a.jpg', 'x')}", "../a"),
    "an why_unusable name": (f"{HEAD}\n{row('{a}', 'a.jpg', 'x')}", "{a}"),
    "a long name": (f"{HEAD}\n{row('a' * 201, 'a.jpg', 'x')}", "line 2"),
    "an unknown column": (f"{HEAD}\tcgf\n{row('a', 'a.jpg', 'x', '3')}", "cgf"),
    "a column twice": (f"{HEAD}\tcfg\tcfg\n{row('a', 'a.jpg', 'x', '3', '4')}", "cfg"),
    "a wrong setting": (f"{HEAD}\tcfg\n{row('a', 'a.jpg', 'x', 'high')}", "cfg"),
    "two trainings": (
        f"{HEAD}\tedit\ttrain_seed\n{row('a', 'a.jpg', 'x', 'e', '1')}\n"
        f"{row('a', 'a.jpg', 'x', 'f', '2')}",
        "train_seed",
    ),
    "Latin-1": (f"{HEAD}\n".encode() + "a\ta.jpg\tgrün".encode("latin-1"), "cases.tsv"),
    "UTF-16": (HEAD.encode("utf-16"), "cases.tsv"),
    "null bytes": (f"{HEAD}\na\0b\ta.jpg\tx".encode(), "cases.tsv"),
    "deep YAML": (f"{HEAD}\tcfg\n{row('a', 'a.jpg', 'x', '[' * 9999)}", "cfg"),
}


@pytest.mark.parametrize("name", TABLES)
def test_bad_tables(name: str, folder: Path) -> None:
    content, blamed = TABLES[name]
    data = content.encode() if isinstance(content, str) else content
    (folder / "cases.tsv").write_bytes(data)
    (folder / "config.yaml").write_text("cases: cases.tsv", encoding="utf-8")
    with pytest.raises(ConfigError) as fault:
        plan(folder)
    for line in fault.value.lines:
        require_clear(line, "cases.tsv")
    assert blamed in str(fault.value)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_a_table_that_is_no_file(make: Callable[[Path], Any], folder: Path) -> None:
    make(folder / "cases.tsv")
    (folder / "config.yaml").write_text("cases: cases.tsv", encoding="utf-8")
    with pytest.raises(ConfigError) as fault:
        plan(folder)
    require_clear(str(fault.value), "cases.tsv")
