"""config.yaml: every fault is one line that names the key, the value and the cure."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
import yaml

from editinfinity.config.config_file import check_yaml
from editinfinity.config.generate import config_schema, config_yaml
from editinfinity.config.load import SELECTION_KEYS, ConfigError, load_config
from editinfinity.editing import kernel
from editinfinity.settings.groups import SETTINGS, SMOOTHINGS
from editinfinity.settings.types import InvalidValue

ROOT = Path(__file__).parents[2]

GOOD = {
    "train_lora_iter": [0, 50, 50.0],
    "train_lora": [0, 1, True, False],
    "use_lora_iter": [None, 50, [10, 30]],
    "cfg": [4, 4.5, [3, 4.5], "1e-1"],
    "betas": [[0.9, 0.97]],
    "infer_function": [None, 0, 1, 2],
    "threads": ["auto", 3],
    "smoothing": ["hard", ["linear", "none"]],
    "device": ["auto", "cuda:1"],
    "kl_weight": ["2e-7", 0],
    "model": ["tiny"],
}
BAD = {
    "train_lora_iter": ["fifty", -1, 1.5, True, None, [50], "50", 10**300],
    "train_lora": [2, "yes", None, -1],
    "use_lora_iter": [[], -1, [10, "x"], [[10]]],
    "seed": [-1, 2**63, 16**5000],
    "cfg": [-1, "high", float("nan"), float("inf"), True, {}, 10**400],
    "tau": [0, -0.5],
    "top_p": [0, 1.5],
    "betas": [0.9, [0.9], [0.9, 1.0]],
    "infer_function": [3, True, "2"],
    "threads": [0, "all", 1.5, 10**9],
    "batch_size": [0, 10**6],
    "smoothing": ["soft", ["linear", "soft"]],
    "device": ["gpu", "cuda:"],
    "model": ["infinity", None],
    "checkpoint_every": [0],
    "data": ["", "a{b}", 3],
    "results": [None, "a\nb", "for/<client>"],
    "cases": [[], [1], "my.CSV", ["a/b"], ["a{b}"], [".."], {"a": 1}, 5],
    "overrides": [[], {"a": 1}, {"a": {"cfg": -1}}, {"a": {"device": "cpu"}}, {"a": {"x": 1}}],
}


@pytest.mark.parametrize("key", GOOD)
def test_good_values_pass_here_and_in_the_editors_schema(key: str) -> None:
    for value in GOOD[key]:
        load_config({key: value})
        if not isinstance(value, str) or key not in ("cfg", "kl_weight"):
            jsonschema.validate({key: value}, config_schema())


@pytest.mark.parametrize("key", BAD)
def test_each_bad_value_is_one_line_with_key_and_cure(key: str) -> None:
    for value in BAD[key]:
        with pytest.raises(ConfigError) as fault:
            load_config({key: value}, source="my.yaml")
        (line,) = fault.value.lines
        assert line.startswith(f"my.yaml: {key}: ")
        assert "\n" not in line
        assert "write" in line or "set it at the top" in line or "is not a setting" in line


def test_a_home_is_put_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    config = load_config({"results": "~/edits", "model_dir": "~/weights/2b", "data": "~x~"})
    assert str(config.results) == "/home/me/edits" and str(config.data) == "~x~"
    assert config.settings["model_dir"] == Path("/home/me/weights/2b")
    assert str(load_config({"cases": "~/cases.tsv"}).table) == "/home/me/cases.tsv"


def test_elements_of_lists_from_the_command_line_are_text_and_read_all_the_same() -> None:
    """As Snakemake hands on ``--config use_lora_iter=[10,30] cfg=[3,4.5] …``."""
    raw = {"use_lora_iter": ["10", "30"], "cfg": ["3", "4.5"], "smoothing": ["hard", "none"]}
    given = load_config({**raw, "overrides": {"a": {"seed": ["1", "2"], "use_lora": "0"}}})
    assert given.settings["use_lora_iter"] == (10, 30)
    assert given.settings["cfg"] == (3.0, 4.5)
    assert given.settings["smoothing"] == ("hard", "none")
    assert given.overrides["a"] == {"seed": (1, 2), "use_lora": False}
    assert load_config({"cases": ["1", "2"]}).cases == ("1", "2")  # names stay text


def test_null_on_the_command_line_is_none() -> None:
    """As Snakemake hands on ``--config cases=null``: text, which in a file could be a name."""
    given = {"cases": "null", "slice": "null", "pie_bench": "null"}
    told = load_config(given, command_line=set(given))
    assert (told.cases, told.part, told.settings["pie_bench"]) == (None, (1, 1), None)
    assert load_config({"cases": "null"}).cases == ("null",)


def test_the_message_reads_well() -> None:
    with pytest.raises(ConfigError) as fault:
        load_config({"train_lora_iter": "fifty"})
    assert str(fault.value) == (
        'config.yaml: train_lora_iter: must be a whole number from 0 to 100000, got "fifty"; '
        "write e.g. train_lora_iter: 50"
    )


def test_every_fault_is_told_and_unknown_keys_get_a_hint() -> None:
    with pytest.raises(ConfigError) as fault:
        load_config({"use_lora_itr": 3, "cfg": -1, "seed": "x"}, command_line={"seed"})
    first, second, third = fault.value.lines
    assert first == "config.yaml: use_lora_itr: is not a setting; did you mean use_lora_iter?"
    assert second.startswith("config.yaml: cfg: ")
    assert third.startswith("--config: seed: ")


def test_values_take_one_form_because_params_compare_as_text() -> None:
    settings = load_config({"cfg": 4, "train_lora_iter": 50.0, "train_lora": 1}).settings
    assert repr(settings["cfg"]) == "(4.0,)"
    assert repr(settings["train_lora_iter"]) == "50"
    assert settings["train_lora"] is True
    assert load_config({"seed": [1, 2, 1]}).settings["seed"] == (1, 2)


def test_examples_in_messages_are_themselves_accepted() -> None:
    for key, setting in SETTINGS.items():
        with pytest.raises(InvalidValue) as fault:
            setting.parse(object())
        written = str(fault.value).partition("write e.g. ")[2]
        load_config(yaml.safe_load(written))
        assert written.startswith(f"{key}: ")


def test_config_yaml_spells_out_every_setting_at_its_default() -> None:
    raw = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    config = load_config(raw)
    assert dict(config.settings) == {key: setting.default for key, setting in SETTINGS.items()}
    assert set(raw) == {*SETTINGS, *SELECTION_KEYS}
    assert (str(config.data), config.results, config.overrides) == ("data", "results", {})


def test_the_schema_file_is_current_and_takes_config_yaml() -> None:
    schema = yaml.safe_load((ROOT / "schemas/config.schema.yaml").read_text(encoding="utf-8"))
    assert schema == config_schema(), "run python -m editinfinity.config.generate"
    text = (ROOT / "config.yaml").read_text("utf-8")
    assert text == config_yaml(text), "run python -m editinfinity.config.generate"
    jsonschema.validate(yaml.safe_load((ROOT / "config.yaml").read_text("utf-8")), schema)


def test_case_overrides_win_over_the_run() -> None:
    config = load_config({"cfg": 3, "overrides": {"a": {"cfg": [5, 6], "train_lora_iter": 7}}})
    assert config.settings_of("a")["cfg"] == (5.0, 6.0)
    assert config.settings_of("a")["train_lora_iter"] == 7
    assert config.settings_of("b")["cfg"] == (3.0,)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a: [1", "line 1"),
        (b"cfg: 3\nseed: 1\ncfg: 4\n", "line 3: cfg occurs twice"),
        (b"- cfg\n", "must be lines of `setting: value`"),
        (b"cfg: \xff\n", "is not UTF-8"),
        (b"cfg: \x00\n", "is not valid YAML"),
        (b"cfg: 3\n{photo}: 1\n", "line 2: a key is in brackets"),
        (b"overrides:\n  [a, b]: {cfg: 3}\n", "line 2: a key is in brackets"),
        (b"cfg: !!int ''\n", "is not valid YAML"),
        (b"train_lora: !!bool x\n", "is not valid YAML"),
        (b"seed: !!timestamp x\n", "is not valid YAML"),
    ],
)
def test_a_file_that_is_no_yaml_is_one_line(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as fault:
        check_yaml(path)
    (line,) = fault.value.lines
    assert said in line
    assert line.startswith(str(path))


def test_every_smoothing_can_be_asked_for() -> None:
    assert tuple(kernel.SMOOTHINGS) == SMOOTHINGS
