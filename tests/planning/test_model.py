"""What stands for a run's model, and the model's own values behind nulls."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from editinfinity.config.load import load_config
from editinfinity.environment import JOBS_AT_ONCE, workflow_root
from editinfinity.planning.location import export_package, share_cores
from editinfinity.planning.model import attention_bias_of, effective, model_identity
from editinfinity.presets import PRESETS, preset


def identity(**settings: object) -> str:
    return model_identity(load_config(settings).settings)


def test_new_weights_are_another_model(tmp_path: Path) -> None:
    chosen = {"model": "infinity_2b", "model_dir": str(tmp_path)}
    seen = {identity(**chosen)}
    (tmp_path / "transformer.safetensors").write_bytes(b"1")
    seen.add(identity(**chosen))
    (tmp_path / "transformer.safetensors").write_bytes(b"2")
    seen.add(identity(**chosen))
    (tmp_path / "text_encoder").mkdir()
    (tmp_path / "text_encoder" / "model.safetensors").write_bytes(b"t5")
    seen.add(identity(**chosen))
    (tmp_path / "notes.txt").write_bytes(b"no weights")
    seen.add(identity(**chosen))
    assert len(seen) == 4
    assert identity(**chosen) != identity(**chosen, attention_bias=0)
    assert attention_bias_of(identity(**chosen))
    assert not attention_bias_of(identity(**chosen, attention_bias=0))
    assert identity(model="tiny") == "tiny"


@pytest.mark.parametrize("model", PRESETS)
def test_nulls_mean_the_models_own_values(model: str) -> None:
    settings = load_config({"model": model}).settings
    own = preset(model)
    assert effective("pixel_budget", settings) == own.pixel_budget
    assert effective("batch_size", settings) == own.training.batch_size
    assert effective("lora_learning_rate", settings) == own.training.lora_learning_rate
    assert effective("embedding_learning_rate", settings) == own.training.embedding_learning_rate
    assert effective("pixel_budget", load_config({"pixel_budget": "0.25M"}).settings) == "0.25M"


def test_a_checkout_is_its_own_workflow_and_is_lent_once(monkeypatch: pytest.MonkeyPatch) -> None:
    root = workflow_root()
    assert (root / "config.yaml").is_file()
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    export_package(root)
    export_package(root)
    assert os.environ["PYTHONPATH"] == f"{root}:/elsewhere"


@pytest.mark.parametrize(
    ("limits", "jobs"),
    [
        ({"_cores": 4, "gpu": 2}, "2"),
        ({"_cores": 1, "gpu": 8}, "1"),
        ({"_cores": 4}, "4"),
        ({"_cores": SimpleNamespace(value=3), "gpu": SimpleNamespace(value=2)}, "2"),
        ({}, "1"),
    ],
)
def test_jobs_learn_how_many_run_at_once(
    limits: dict[str, object], jobs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(JOBS_AT_ONCE, "unset")
    share_cores(limits)
    assert os.environ[JOBS_AT_ONCE] == jobs
