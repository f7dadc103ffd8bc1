"""What stands for a run's model, and the model's own values behind nulls."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from editinfinity.config.load import load_config
from editinfinity.environment import JOBS_AT_ONCE, workflow_root
from editinfinity.planning.location import export_package, share_cores
from editinfinity.planning.model import (
    attention_bias_of,
    drawing_identity,
    effective,
    embedding_batch_size,
    lora_model_identity,
    model_identity,
    precision_of,
    text_model_identity,
)
from editinfinity.planning.variants import variants_of
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


def test_the_precision_of_lora_is_in_its_model_only_if_it_is_chosen() -> None:
    """A finished training of an earlier version has no such param."""
    plain, lossy = (load_config({"precision": value}).settings for value in ("auto", "fp8"))
    assert lora_model_identity(plain, "bundled weights=1") == "bundled weights=1"
    identity = lora_model_identity(lossy, "bundled weights=1 attention_bias=0")
    assert precision_of(identity) == "fp8" and not attention_bias_of(identity)
    assert precision_of("bundled weights=1") == "auto"


@pytest.mark.parametrize("model", PRESETS)
def test_nulls_mean_the_models_own_values(model: str) -> None:
    settings = load_config({"model": model}).settings
    own = preset(model)
    assert effective("pixel_budget", settings) == own.pixel_budget
    assert effective("batch_size", settings) == own.training.lora_batch_size
    assert embedding_batch_size(settings) == own.training.embedding_batch_size
    assert embedding_batch_size(load_config({"model": model, "batch_size": 3}).settings) == 3
    assert effective("lora_learning_rate", settings) == own.training.lora_learning_rate
    assert effective("embedding_learning_rate", settings) == own.training.embedding_learning_rate
    assert effective("pixel_budget", load_config({"pixel_budget": "0.25M"}).settings) == "0.25M"


def test_released_models_learn_the_text_embedding_from_one_sample() -> None:
    """As the original does, which costs half; what the bundled model learns stays as it was."""
    batches = {
        name: (own.training.embedding_batch_size, own.training.lora_batch_size)
        for name, own in PRESETS.items()
    }
    released = {name: (1, 2) for name in PRESETS if name.startswith("infinity")}
    assert batches == {**released, "bundled": (2, 2), "tiny": (1, 1)}


def drawing(**changes: object) -> str:
    settings = load_config(changes).settings
    (variant,) = variants_of(settings)
    return drawing_identity(settings, variant, model_identity(settings))


def test_what_a_drawing_depends_on_is_in_its_identity() -> None:
    """Of settings that not every earlier version had only where they are not the default."""
    assert drawing() == drawing(batch_size=2) != drawing(batch_size=1)
    assert drawing(model="infinity_2b") != drawing(model="infinity_2b", batch_size=2)
    assert drawing() != drawing(text_encoder_dtype="bf16")
    assert drawing() == drawing(precision="auto") != drawing(precision="fp8")
    # Settings of a found place, of a word's map and of one guidance: only where they are used.
    assert drawing() == drawing(prompt_map_grow=2) == drawing(editmod_confidence=0.8)
    assert drawing() != drawing(attention_scales="fine")
    found = {"mask_source": "both"}
    assert drawing(**found) != drawing(**found, prompt_map_grow=2)
    assert drawing(method="editmod") != drawing(method="editmod", editmod_confidence=0.8)
    settings = load_config({}).settings
    assert text_model_identity(settings, "bundled weights=1") == "bundled weights=1"
    two = load_config({"text_encoder_dtype": "bf16"}).settings
    assert text_model_identity(two, "bundled weights=1").endswith(" text_encoder_dtype=bf16")


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


@pytest.mark.parametrize(
    ("chosen", "policy"),
    [
        ({}, ("passive", "4")),
        ({"OMP_WAIT_POLICY": "active"}, ("active", "4")),
        ({"GOMP_SPINCOUNT": "9"}, (None, "4")),
        ({"OPENBLAS_THREAD_TIMEOUT": "20"}, ("passive", "20")),
    ],
)
def test_threads_of_jobs_sleep_while_they_wait_unless_the_user_chose(
    chosen: dict[str, str], policy: tuple[str | None, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(JOBS_AT_ONCE, "unset")
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OPENBLAS_THREAD_TIMEOUT"):
        monkeypatch.setenv(name, "")  # so that the end of the test restores it
        monkeypatch.delenv(name)
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    share_cores({"_cores": 2})
    names = "OMP_WAIT_POLICY", "OPENBLAS_THREAD_TIMEOUT"
    assert tuple(map(os.environ.get, names)) == policy
