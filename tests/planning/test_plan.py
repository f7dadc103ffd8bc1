"""What a case asks to be made, and the checkpoints that cannot be."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from editinfinity.cases.case import Cases
from editinfinity.cases.load import load_cases
from editinfinity.config.load import Config, ConfigError, load_config
from editinfinity.planning.targets import (
    TRAIN_LORA,
    case_targets,
    cases_that_train,
    check_plan,
    layout,
    previous_iteration,
)
from tests.cases.test_cases import make_case


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make_case(tmp_path / "data" / "a", "image/mask.png", "prompt/target_word.txt")
    make_case(tmp_path / "data" / "b.1 é")
    return tmp_path


def plan(**settings: Any) -> tuple[Config, Cases]:
    config = load_config(settings)
    return config, load_cases(config)


def targets(**settings: Any) -> list[str]:
    config, cases = plan(**{"cases": ["a"], **settings})
    return case_targets(cases.by_name["a"], layout(config, "a"))


MASK = ["results/a/mask/edit/mask.png", "results/a/mask/edit/heatmap.png"]


def test_checkpoints_grow_from_the_last_multiple_below() -> None:
    assert [previous_iteration(n, 10) for n in (1, 10, 11, 20, 55)] == [0, 0, 10, 10, 50]


def test_targets(data: Path) -> None:
    name = "embedding10-lora50-cfg4-tau0.5-seed42"
    assert targets() == [
        "results/a/check.json",
        *MASK,
        "results/a/text_embedding/iter10.safetensors",
        "results/a/lora/embedding10/iter50/adapter_model.safetensors",
        f"results/a/edit/edit/{name}.png",
        f"results/a/edit/edit/{name}.metrics.json",
        "results/a/edit.png",
    ]


def test_metrics_can_be_left_out(data: Path) -> None:
    assert not any("metrics" in target for target in targets(metrics=0))


def test_alternative_flows(data: Path) -> None:
    """The original guide's: only the embedding, only LoRA, neither."""
    only_embedding = targets(train_lora=0, use_lora=0)
    assert "results/a/edit/edit/embedding10-lora0-cfg4-tau0.5-seed42.png" in only_embedding
    assert not any("/lora/" in target for target in only_embedding)
    only_lora = targets(train_textembedding=0, use_textembedding=0, use_concat_embedding=0)
    assert "results/a/edit/edit/embedding0-lora50-cfg4-tau0.5-seed42.png" in only_lora
    assert "results/a/lora/embedding0/iter50/adapter_model.safetensors" in only_lora
    assert not any("/text_embedding/" in target for target in only_lora)
    neither = targets(
        train_textembedding=0, use_textembedding=0, use_concat_embedding=0, train_lora=0, use_lora=0
    )
    assert neither[1:] == [
        *MASK,
        "results/a/edit/edit/embedding0-lora0-cfg4-tau0.5-seed42.png",
        "results/a/edit/edit/embedding0-lora0-cfg4-tau0.5-seed42.metrics.json",
        "results/a/edit.png",
    ]
    map_only = targets(infer_function=1)
    assert map_only[1:] == [*MASK, "results/a/mask/edit/kernel-linear.safetensors"]


def test_what_train_asks_for_is_trained_even_if_unused(data: Path) -> None:
    step_2 = targets(use_textembedding=0, use_concat_embedding=0, train_lora=0, use_lora=0)
    assert "results/a/text_embedding/iter10.safetensors" in step_2
    assert "results/a/lora/embedding10/iter50/adapter_model.safetensors" in targets(
        use_lora_iter=30
    )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"train_lora": 0}, "train_lora: is 0 and use_lora is 1, but there is no results/a/lora"),
        (
            {"train_textembedding": 0},
            "train_textembedding: is 0 and use_concat_embedding is 1, but there is no results/a/",
        ),
        (
            {"train_textembedding": 0, "use_concat_embedding": 0},
            "train_textembedding: is 0 and use_textembedding is 1",
        ),
        ({"use_lora_iter": [20, 60]}, "use_lora_iter: 60 is more than train_lora_iter: 50"),
        ({"use_embedding_iter": 20}, "use_embedding_iter: 20 is more than train_textembedding_"),
        ({"use_textembedding_iter": 11}, "use_textembedding_iter: 11 is more than"),
        ({"cfg": 1.23456789}, "cfg: 1.23456789 has more digits"),
    ],
)
def test_checkpoints_that_cannot_be_are_told(
    data: Path, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError) as fault:
        check_plan(*plan(**settings))
    # Both cases share the setting: it is one fault for each thing that asks.
    assert len(fault.value.lines) <= 2
    assert said in fault.value.lines[0]


def test_existing_checkpoints_are_used_without_training(data: Path) -> None:
    for file in (
        "results/a/text_embedding/iter10.safetensors",
        "results/a/lora/embedding10/iter50/adapter_model.safetensors",
        "results/a/lora/embedding10/iter70/adapter_model.safetensors",
    ):
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).touch()
    check_plan(*plan(cases=["a"], train_lora=0, train_textembedding=0))
    check_plan(*plan(cases=["a"], use_lora_iter=70))
    for missing in (80, 100_000):
        with pytest.raises(ConfigError, match="is more than train_lora_iter"):
            check_plan(*plan(cases=["a"], use_lora_iter=missing))


def test_the_training_rule_does_not_apply_to_cases_that_do_not_train(data: Path) -> None:
    _, cases = plan(overrides={"b.1 é": {"train_lora": 0}})
    pattern = re.compile(f"results/(?P<case>{cases_that_train(cases, TRAIN_LORA)})/lora")
    assert pattern.fullmatch("results/a/lora")
    assert pattern.fullmatch("results/b.1 é 2/lora")
    assert not pattern.fullmatch("results/b.1 é/lora")


def test_a_model_without_its_weights_is_a_fault_of_the_configuration(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(data))
    for settings, said in (
        ({}, "are not in .*infinity_2b; run `editinfinity weights fetch infinity_2b` once"),
        ({"model_dir": "nowhere"}, "model_dir: nowhere is not a folder"),
        ({"model_dir": str(data)}, r"contains no tokenizer\*\.safetensors of infinity_2b; run `e"),
    ):
        with pytest.raises(ConfigError, match=said):
            check_plan(*plan(model="infinity_2b", **settings))
    own = data / "editinfinity" / "infinity_2b"
    for name in ("tokenizer.safetensors", "transformer.safetensors", "text_encoder/config.json"):
        (own / name).parent.mkdir(parents=True, exist_ok=True)
        (own / name).touch()
    for settings in ({}, {"model_dir": str(own)}):
        check_plan(*plan(model="infinity_2b", **settings))
    check_plan(*plan(model="tiny"))
