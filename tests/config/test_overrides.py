"""One case's settings added to config.yaml, whose other text stays."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from editinfinity.config.config_file import check_yaml
from editinfinity.config.load import load_config
from editinfinity.config.overrides import add_override, override_line

ROOT = Path(__file__).parents[2]
NEW = {"attention_bias": 0, "use_lora_iter": 49}
LINE = "holiday: {attention_bias: 0, use_lora_iter: 49}"

TEXTS = {
    "no file": ("", f"overrides:\n  {LINE}\n"),
    "comments alone": ("# mine", f"# mine\noverrides:\n  {LINE}\n"),
    "no overrides": ("seed: 1 # x\n", f"seed: 1 # x\noverrides:\n  {LINE}\n"),
    "empty": ("overrides: {} # c\nseed: 1\n", f"overrides: # c\n  {LINE}\nseed: 1\n"),
    "null": ("overrides: null\n", f"overrides:\n  {LINE}\n"),
    "nothing": ("overrides:\nseed: 1\n", f"overrides:\n  {LINE}\nseed: 1\n"),
    "a block": (
        "overrides:\n    # of a\n    a: {cfg: 3}\n",
        f"overrides:\n    {LINE}\n    # of a\n    a: {{cfg: 3}}\n",
    ),
    "braces": ("overrides: {a: {cfg: 3}}\n", f"overrides: {{{LINE}, a: {{cfg: 3}}}}\n"),
    "braces over lines": (
        "overrides: {\n  a: {cfg: 3}\n}\n",
        f"overrides: {{{LINE}, \n  a: {{cfg: 3}}\n}}\n",
    ),
    "the word elsewhere": (
        "# overrides: {}\ncases: ['overrides: {}']\n",
        f"# overrides: {{}}\ncases: ['overrides: {{}}']\noverrides:\n  {LINE}\n",
    ),
}


@pytest.mark.parametrize("what", TEXTS)
def test_a_line_is_added_and_nothing_else_changes(tmp_path: Path, what: str) -> None:
    before, after = TEXTS[what]
    path = tmp_path / "config.yaml"
    if what != "no file":
        path.write_text(before)
    assert override_line("holiday", NEW) == LINE
    for _ in range(2):  # the second time it is there already
        assert add_override(path, "holiday", NEW)
        assert path.read_text() == after
    check_yaml(path)


def test_the_configuration_that_comes_with_the_project_takes_it(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes((ROOT / "config.yaml").read_bytes())
    name = "été: 'a' #1 [x]"
    assert add_override(path, name, NEW) and add_override(path, "holiday", {"cfg": 3})
    overrides = load_config(yaml.safe_load(path.read_text("utf-8"))).overrides
    assert overrides == {
        name: {"attention_bias": False, "use_lora_iter": (49,)},
        "holiday": {"cfg": (3.0,)},
    }
    old, new = (file.read_text("utf-8").splitlines() for file in (ROOT / "config.yaml", path))
    assert len(new) == len(old) + 2 and old[:-1] == new[: len(old) - 1]


@pytest.mark.parametrize(
    "text",
    [
        "overrides:\n  holiday: {cfg: 3}\n",
        "overrides: {holiday: {attention_bias: 0}}\n",
        "{seed: 1}\n",
        "overrides:\r\n  a: {cfg: 3}\r\n",
        "overrides: !!map {}\n",
        "overrides : {}\n",
        "overrides:\n  {}\n",
    ],
)
def test_what_does_not_fit_is_left_as_it_is(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(text.encode())
    added = add_override(path, "holiday", NEW)
    if not added:
        assert path.read_bytes() == text.encode()
    else:  # only in a text that means the same and this as well
        content, parsed = yaml.safe_load(text), yaml.safe_load(path.read_bytes())
        assert parsed == {**content, "overrides": {**(content["overrides"] or {}), "holiday": NEW}}
    assert added == text.startswith("overrides:\r")
